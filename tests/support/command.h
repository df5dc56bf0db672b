// Runs the real program and catches what it prints.
#pragma once
#include <string>
#include <vector>

namespace tessera::testing {

struct CommandResult {
  int exit_code = -1;  // 128 + signal when a signal ended it
  std::string out, err;
};

// Runs `arguments` (the program first) without a shell; `environment` rows are "NAME=value" added to the present one.
CommandResult RunCommand(const std::vector<std::string>& arguments, const std::vector<std::string>& environment = {});

// A fresh folder that is removed when the object goes.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace tessera::testing
