// What attention really ran, for the command line and for files.
#pragma once
#include <span>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "attention/layer.h"
#include "base/table.h"

namespace tessera {

// Columns: site, steps, problem, backend, why, calls, time and its share of all attention, operations per second (dense
// count), density.
std::string PrintRecords(std::span<const AttentionRecord> records, TableFormat format);
nlohmann::json CheckToJson(const CheckRecord& check);
nlohmann::json RecordsToJson(std::span<const AttentionRecord> records);
// The same without times: equal runs give equal text.
nlohmann::json RecordsToTimelessJson(std::span<const AttentionRecord> records);

}  // namespace tessera
