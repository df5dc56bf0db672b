#include "base/table.h"

#include <algorithm>

namespace tessera {
namespace {

size_t Columns(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string Padded(const std::string& text, size_t width) {
  return text + std::string(width - std::min(width, Columns(text)), ' ');
}

std::string MarkdownCell(const std::string& text) {
  std::string cell;
  for (const char c : text) {
    if (c == '|') cell += '\\';
    cell += c;
  }
  return cell;
}

std::string TextTable(const std::vector<TableRow>& rows) {
  std::vector<size_t> widths(rows[0].size());
  for (const TableRow& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Columns(row[i]));
  }
  std::string table;
  for (const TableRow& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) line += (i > 0 ? "  " : "") + Padded(row[i], widths[i]);
    table += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return table;
}

std::string MarkdownTable(const std::vector<TableRow>& rows) {
  std::string table;
  for (size_t r = 0; r < rows.size(); ++r) {
    table += "|";
    for (const std::string& cell : rows[r]) table += " " + MarkdownCell(cell) + " |";
    table += "\n";
    if (r > 0) continue;
    for (size_t i = 0; i < rows[0].size(); ++i) table += "|---";
    table += "|\n";
  }
  return table;
}

}  // namespace

std::string PrintTable(const std::vector<TableRow>& rows, TableFormat format) {
  return format == TableFormat::kText ? TextTable(rows) : MarkdownTable(rows);
}

}  // namespace tessera
