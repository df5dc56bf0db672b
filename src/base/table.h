// Tables for terminals and for Markdown.
#pragma once
#include <string>
#include <vector>

namespace tessera {

enum class TableFormat { kText, kMarkdown };

using TableRow = std::vector<std::string>;

// The first row is the heading; every row has as many cells.
std::string PrintTable(const std::vector<TableRow>& rows, TableFormat format);

}  // namespace tessera
