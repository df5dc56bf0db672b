#include "vendor_library.h"

#include <dlfcn.h>

namespace vendor {

VendorLibrary::VendorLibrary(const std::string& name, const std::string& folder) : name_(name) {
  constexpr int kMode = RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE;
  if (!folder.empty()) library_ = dlopen((folder + "/" + name).c_str(), kMode);
  if (library_ == nullptr) library_ = dlopen(name.c_str(), kMode);
  if (library_ != nullptr) return;
  const char* message = dlerror();
  why_not_ = message == nullptr ? "unknown reason" : message;
}

void* VendorLibrary::Symbol(const char* name) const noexcept {
  return library_ == nullptr ? nullptr : dlsym(library_, name);
}

}  // namespace vendor
