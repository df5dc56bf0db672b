// A vendor's shared library, opened while the program runs; it stays in the process.
#pragma once
#include <initializer_list>
#include <string>

namespace vendor {

class VendorLibrary {
 public:
  // Tries `name` in the folder (when there is one), then where the system keeps libraries.
  VendorLibrary(const std::string& name, const std::string& folder);

  bool is_open() const noexcept { return library_ != nullptr; }
  const std::string& name() const noexcept { return name_; }
  const std::string& why_not() const noexcept { return why_not_; }  // the loader's words
  void* Symbol(const char* name) const noexcept;                    // null: it has none of that name

 private:
  std::string name_, why_not_;
  void* library_ = nullptr;
};

// The function `name` of the first library that has it, null when none has.
template <class Function>
Function* FunctionOf(std::initializer_list<const VendorLibrary*> libraries, const char* name) noexcept {
  for (const VendorLibrary* library : libraries) {
    if (void* symbol = library->Symbol(name)) return reinterpret_cast<Function*>(symbol);
  }
  return nullptr;
}

}  // namespace vendor
