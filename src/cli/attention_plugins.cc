#include "cli/attention_plugins.h"

#include "attention/plugin.h"

namespace tessera {

std::shared_ptr<const AttentionRegistry> RegistryOf(const FlagValues& values) {
  if (!values.Has("attention-plugin")) return {std::shared_ptr<void>(), &AttentionRegistry::BuiltIn()};
  std::vector<std::shared_ptr<const AttentionPlugin>> plugins;
  for (const std::string& path : values.Strings("attention-plugin")) plugins.push_back(AttentionPlugin::Load(path));
  return std::make_shared<const AttentionRegistry>(AttentionRegistry::BuiltInWith(std::move(plugins)));
}

}  // namespace tessera
