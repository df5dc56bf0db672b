#include "cli/compare/backend_list.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/backend_options.h"

namespace tessera {
namespace {

constexpr const char* kFlag = "--backend-config";

void AddColumn(ListedBackend column, std::vector<ListedBackend>& list) {
  const auto same = [&](const ListedBackend& known) { return known.label == column.label; };
  if (std::any_of(list.begin(), list.end(), same)) {
    throw Error(ErrorKind::kUsage,
                fmt::format("--backends: '{}' is there twice; LABEL=NAME gives a column another name",
                            Printable(column.label)));
  }
  list.push_back(std::move(column));
}

void AddNamed(const std::string& word, const AttentionRegistry& registry, std::vector<ListedBackend>& list) {
  const size_t equals = word.find('=');
  const std::string name(Trim(equals == std::string::npos ? word : word.substr(equals + 1)));
  const std::string label(Trim(equals == std::string::npos ? word : word.substr(0, equals)));
  if (label.empty() || label.find(':') != std::string::npos) {
    throw Error(ErrorKind::kUsage,
                fmt::format("--backends '{}': wanted NAME or LABEL=NAME without ':'", Printable(word)));
  }
  const bool chosen = Lower(name) == "auto";
  AddColumn({.label = label, .backend = chosen ? "auto" : std::string(registry.Find(name).name)}, list);
}

ListedBackend& ColumnOf(const std::string& label, std::vector<ListedBackend>& list) {
  std::vector<std::string> labels;
  for (ListedBackend& column : list) {
    if (column.label == label) return column;
    labels.push_back(column.label);
  }
  throw Error(ErrorKind::kUsage,
              fmt::format("{}: no column '{}'; there are {}", kFlag, Printable(label), Join(labels, ", ")));
}

void Configure(const std::string& label, const std::string& config, const AttentionRegistry& registry,
               std::vector<ListedBackend>& list) {
  ListedBackend& column = ColumnOf(label, list);
  if (!column.config.empty()) {
    throw Error(ErrorKind::kUsage, fmt::format("{}: '{}' is configured twice", kFlag, Printable(label)));
  }
  column.config = config;
  column.options = ParseBackendOptions(config);
  if (column.backend != "auto") ResolveOptions(registry.Find(column.backend), column.options);
}

void ConfigureFromJson(const std::string& text, const AttentionRegistry& registry, std::vector<ListedBackend>& list) {
  const nlohmann::json object = ParseJson(text, kFlag);
  for (const auto& [label, config] : object.items()) {
    if (!config.is_object()) {
      throw Error(ErrorKind::kUsage, fmt::format("{}: '{}' is {}, wanted an object of keys and values", kFlag,
                                                 Printable(label), DescribeJson(config)));
    }
    Configure(label, config.dump(), registry, list);
  }
}

}  // namespace

std::vector<ListedBackend> ListBackends(const std::vector<std::string>& names, const std::vector<std::string>& configs,
                                        const AttentionRegistry& registry) {
  std::vector<ListedBackend> list;
  for (const std::string& words : names) {
    for (const std::string& word : Split(words, ',')) {
      if (Lower(Trim(word)) != "all") {
        AddNamed(word, registry, list);
        continue;
      }
      for (const AttentionBackend* backend : registry.backends()) {
        AddColumn({.label = std::string(backend->name), .backend = std::string(backend->name), .may_refuse = true},
                  list);
      }
    }
  }
  for (const std::string& config : configs) {
    if (Trim(config).starts_with('{')) {
      ConfigureFromJson(config, registry, list);
      continue;
    }
    const size_t colon = config.find(':');
    if (colon == std::string::npos) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("{} '{}': wanted NAME:key=value,... or {{\"NAME\": {{\"key\": value}}}}", kFlag,
                              Printable(config, 80)));
    }
    Configure(std::string(Trim(config.substr(0, colon))), config.substr(colon + 1), registry, list);
  }
  return list;
}

}  // namespace tessera
