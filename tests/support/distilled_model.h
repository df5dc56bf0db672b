// Folders of distilled Wan models, made of the golden folders as the recordings' script made them.
#pragma once
#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

namespace tessera::testing {

// A case of tests/golden/wan_distilled.json: its folder below golden/pipelines, pipeline class, sizes and seed.
nlohmann::json DistilledJob(const std::string& name);

// The job's golden folder with another pipeline class and further keys in the transformers' configurations.
void ComposeDistilledModel(const nlohmann::json& job, const std::filesystem::path& folder);

}  // namespace tessera::testing
