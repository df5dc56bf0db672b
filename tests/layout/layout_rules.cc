#include "layout/layout_rules.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <regex>
#include <set>
#include <string_view>

#include <fmt/format.h>

namespace tessera::layout {
namespace {

namespace fs = std::filesystem;

// Folders by height. Folders of one height do not include each other.
constexpr std::array<std::pair<std::string_view, int>, 14> kLevels = {{{"base", 0},
                                                                       {"parallel", 1},
                                                                       {"tensor", 2},
                                                                       {"platform", 3},
                                                                       {"kernels", 4},
                                                                       {"weights", 5},
                                                                       {"attention", 6},
                                                                       {"layers", 6},
                                                                       {"text", 6},
                                                                       {"schedulers", 6},
                                                                       {"media", 6},
                                                                       {"models", 7},
                                                                       {"pipeline", 8},
                                                                       {"server", 9}}};
constexpr int kHighest = 10;  // cli

constexpr std::array<std::string_view, 8> kPluginFolders = {"attention/backends",
                                                            "attention/planners",
                                                            "cli/random_model/designs",
                                                            "layers/linear_formats",
                                                            "models/encoders",
                                                            "models/families",
                                                            "models/vae",
                                                            "models/vision"};

constexpr std::array<std::string_view, 12> kBannedWords = {"util", "utils", "helper", "helpers", "manager", "common",
                                                           "misc", "info",  "data",   "handle",  "process", "v2"};

std::optional<int> LevelOf(std::string_view folder) {
  if (folder == "cli") return kHighest;
  for (const auto& [name, level] : kLevels) {
    if (name == folder) return level;
  }
  return std::nullopt;
}

std::string FirstFolder(const std::string& path) { return path.substr(0, path.find('/')); }

bool IsCpp(const fs::path& path) { return path.extension() == ".cc" || path.extension() == ".h"; }

std::vector<fs::path> CppFiles(const fs::path& root) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.is_regular_file() && IsCpp(entry.path())) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<std::string> Lines(const fs::path& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::string WithoutComment(const std::string& line) { return line.substr(0, line.find("//")); }

// Calls check(relative path, line number, line without its comment) and collects what it returns.
template <class Check>
Violations EachLine(const fs::path& root, const Check& check) {
  Violations violations;
  for (const fs::path& file : CppFiles(root)) {
    const std::string relative = fs::relative(file, root).generic_string();
    int number = 0;
    for (const std::string& line : Lines(file)) {
      const std::string found = check(relative, WithoutComment(line));
      ++number;
      if (!found.empty()) violations.push_back(fmt::format("{}:{}: {}", relative, number, found));
    }
  }
  return violations;
}

std::optional<std::string> ProjectInclude(const std::string& line) {
  static const std::regex kInclude(R"(^\s*#\s*include\s*"([^"]+)\")");
  std::smatch match;
  if (!std::regex_search(line, match, kInclude)) return std::nullopt;
  return match[1].str();
}

std::string IncludeViolation(const std::string& file, const std::string& line) {
  const std::optional<std::string> included = ProjectInclude(line);
  if (!included || included->ends_with(".inc") || included->starts_with("tessera/")) return "";
  if (included->find('/') == std::string::npos) return fmt::format("\"{}\" is not a path from src/", *included);
  const std::string from = FirstFolder(file), to = FirstFolder(*included);
  const std::optional<int> from_level = LevelOf(from), to_level = LevelOf(to);
  if (!from_level) return fmt::format("folder {} has no level", from);
  if (!to_level) return fmt::format("\"{}\" is in no folder of src/", *included);
  if (from == to || *to_level < *from_level) return "";
  return fmt::format("{} (level {}) includes \"{}\" (level {})", from, *from_level, *included, *to_level);
}

// Name of a plug-in -> its file, relative to `source`, from the register(<family> <name>) lines.
std::map<std::string, std::string> RegisteredPlugins(const fs::path& source) {
  static const std::regex kRegister(R"(^\s*register\(\s*(\w+)\s+(\w+)\s*\))");
  std::map<std::string, std::string> plugins;
  for (std::string_view folder : kPluginFolders) {
    for (const std::string& line : Lines(source / folder / "CMakeLists.txt")) {
      std::smatch match;
      if (std::regex_search(line, match, kRegister))
        plugins[match[2]] = fmt::format("{}/{}.cc", folder, match[2].str());
    }
  }
  return plugins;
}

std::vector<std::string> Strings(const std::string& line) {
  static const std::regex kString(R"re("((?:[^"\\]|\\.)*)")re");
  std::vector<std::string> strings;
  for (std::sregex_iterator match(line.begin(), line.end(), kString), end; match != end; ++match) {
    strings.push_back((*match)[1]);
  }
  return strings;
}

// Files in which a plug-in's name may be another's word: element types are called like number formats, and the writer
// of checkpoints fills in other programs' configuration files.
bool SpeaksInOtherNames(const std::string& file) {
  return file == "tensor/dtype.cc" || file.starts_with("cli/random_model/parts/");
}

// "SafeTensorsReader" and "safe_tensors_reader" -> {safe, tensors, reader}.
std::vector<std::string> WordsOf(const std::string& name) {
  std::vector<std::string> words(1);
  for (size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    const bool starts = std::isupper(static_cast<unsigned char>(c)) &&
                        (i == 0 || !std::isupper(static_cast<unsigned char>(name[i - 1])));
    if ((c == '_' || c == '-' || starts) && !words.back().empty()) words.emplace_back();
    if (c != '_' && c != '-') words.back().push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
  }
  return words;
}

std::string BannedWordIn(const std::string& name) {
  for (const std::string& word : WordsOf(name)) {
    if (std::find(kBannedWords.begin(), kBannedWords.end(), word) != kBannedWords.end()) return word;
  }
  return "";
}

std::string Output(const std::string& command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::string output;
  std::array<char, 4096> block;
  while (pipe) {
    const size_t read = fread(block.data(), 1, block.size(), pipe.get());
    if (read == 0) break;
    output.append(block.data(), read);
  }
  return output;
}

}  // namespace

Violations UpwardIncludes(const fs::path& source) { return EachLine(source, IncludeViolation); }

Violations HeadersInPluginFolders(const fs::path& source) {
  Violations violations;
  for (std::string_view folder : kPluginFolders) {
    if (!fs::exists(source / folder)) continue;
    for (const fs::path& file : CppFiles(source / folder)) {
      if (file.extension() == ".h") violations.push_back(fs::relative(file, source).generic_string() + ": a header");
    }
  }
  return violations;
}

Violations PluginNamesElsewhere(const fs::path& source) {
  const std::map<std::string, std::string> plugins = RegisteredPlugins(source);
  return EachLine(source, [&](const std::string& file, const std::string& line) -> std::string {
    if (SpeaksInOtherNames(file)) return "";
    for (const std::string& text : Strings(line)) {
      const auto plugin = plugins.find(text);
      if (plugin != plugins.end() && plugin->second != file) return fmt::format("names the plug-in \"{}\"", text);
      for (const auto& [name, own] : plugins) {
        if (text == own) return fmt::format("includes the plug-in {}", own);
      }
    }
    return "";
  });
}

Violations EnvironmentReaders(const fs::path& source) {
  static const std::regex kReader(R"(\b(secure_)?getenv\s*\()");
  return EachLine(source, [](const std::string& file, const std::string& line) -> std::string {
    if (file == "base/environment.cc" || !std::regex_search(line, kReader)) return "";
    return "reads the environment; base/environment.h does that";
  });
}

Violations LongFiles(const fs::path& root, int limit) {
  Violations violations;
  for (const fs::path& file : CppFiles(root)) {
    const auto lines = std::ssize(Lines(file));
    if (lines >= limit) {
      violations.push_back(
          fmt::format("{}: {} lines, limit {}", fs::relative(file, root).generic_string(), lines, limit));
    }
  }
  return violations;
}

Violations BannedNames(const fs::path& root) {
  static const std::regex kType(
      R"(^\s*(?:class|struct|enum class|enum|union|using)\s+([A-Za-z_]\w*)\s*(?:final\b|[:{=]|$))");
  Violations violations = EachLine(root, [](const std::string&, const std::string& line) -> std::string {
    std::smatch match;
    if (!std::regex_search(line, match, kType)) return "";
    const std::string word = BannedWordIn(match[1]);
    return word.empty() ? "" : fmt::format("type {} says '{}'", match[1].str(), word);
  });
  for (const fs::path& file : CppFiles(root)) {
    const std::string word = BannedWordIn(file.stem().string());
    if (!word.empty()) violations.push_back(fmt::format("{}: a file name says '{}'", file.filename().string(), word));
  }
  return violations;
}

bool IsInstructionSetObject(const fs::path& object) {
  static const std::regex kObject(R"(_(avx2|avx512|avx512_bf16|scalar)\.cc\.o$)");
  return std::regex_search(object.filename().string(), kObject);
}

// nm prints "symbol type value size" with -P; a weak definition has type W, V or u.
Violations WeakSymbols(std::span<const fs::path> objects, const std::string& nm) {
  Violations violations;
  for (const fs::path& object : objects) {
    static const std::regex kWeak(R"((?:^|\n)(\S+) ([WVu]) )");
    const std::string symbols = Output(fmt::format("{} -P --defined-only '{}'", nm, object.string()));
    if (symbols.empty()) violations.push_back(fmt::format("{}: nm lists no symbols", object.filename().string()));
    for (std::sregex_iterator match(symbols.begin(), symbols.end(), kWeak), end; match != end; ++match) {
      if ((*match)[1].str().starts_with("DW.ref.")) continue;  // how a compiler points to its exception routine
      violations.push_back(fmt::format("{}: exports weak {}", object.filename().string(), (*match)[1].str()));
    }
  }
  return violations;
}

}  // namespace tessera::layout
