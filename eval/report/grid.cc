#include "eval/report/grid.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "eval/text_table.h"

namespace kvx::report {
namespace {

std::string interval_text(const std::optional<Interval>& interval, const char* format,
                          double scale = 1) {
  if (!interval) return "";
  const double low = scale * interval->low, high = scale * interval->high;
  return fmt::format("[{}, {}]", fmt::format(fmt::runtime(format), low),
                     fmt::format(fmt::runtime(format), high));
}

std::string number_text(const Numbers& numbers, const Row& row) {
  const auto found = numbers.find(row.label);
  return found == numbers.end() ? "" : fmt::format("{}", found->second);
}

// What every table starts with.
std::vector<std::string> first_cells(const Row& row, const Numbers& numbers) {
  return {number_text(numbers, row), row.label, fmt::format("{:.3f}", row.bits()),
          fmt::format("{:g}/{:g}", row.nominal[0], row.nominal[1])};
}

const std::vector<std::string> kFirstHeads{"#", "scheme", "bits/value", "paper k/v"};

std::string speed_text(const Row& row) {
  std::string text;
  for (const auto& [backend, rate] : row.tokens_per_second)
    text += fmt::format("{}{} {:.0f}", text.empty() ? "" : ", ", backend, rate);
  return text;
}

std::string units_text(const Row& row, const Table& table) {
  return row.whole ? fmt::format("{}", row.units) : fmt::format("{} of {}", row.units, table.units);
}

Grid window_details(const Table& table, const Numbers& numbers) {
  Grid grid;
  grid.head = kFirstHeads;
  grid.head.insert(grid.head.end(), {"windows", "perplexity", "minus base", "95 %", "KL mean",
                                     "same top-1 %", "tokens/s"});
  for (const Row& row : table.rows) {
    std::vector<std::string> cells = first_cells(row, numbers);
    cells.insert(cells.end(), {units_text(row, table), fmt::format("{:.4f}", row.value)});
    if (row.base) {
      cells.insert(cells.end(), {"base", "", "", ""});
    } else {
      cells.insert(cells.end(), {row.delta ? fmt::format("{:+.4f}", *row.delta) : "",
                                 interval_text(row.delta_interval, "{:+.4f}"),
                                 fmt::format("{:#.3g}", row.kl_mean),
                                 fmt::format("{:.2f}", 100 * row.same_top)});
    }
    cells.push_back(speed_text(row));
    grid.rows.push_back(std::move(cells));
  }
  return grid;
}

std::vector<std::string> filters_of(const Table& table) {
  std::vector<std::string> filters;
  for (const Row& row : table.rows)
    for (const ReadingScore& reading : row.readings)
      if (std::find(filters.begin(), filters.end(), reading.filter) == filters.end())
        filters.push_back(reading.filter);
  return filters;
}

Grid sample_details(const Table& table, const Numbers& numbers) {
  Grid grid;
  grid.head = kFirstHeads;
  grid.head.push_back("samples");
  const std::vector<std::string> filters = filters_of(table);
  for (const std::string& filter : filters)
    grid.head.insert(grid.head.end(), {filter + " %", "95 %"});
  grid.head.insert(grid.head.end(), {"minus base", "95 %", "lost", "gained", "p", "tokens/s"});
  for (const Row& row : table.rows) {
    std::vector<std::string> cells = first_cells(row, numbers);
    cells.push_back(units_text(row, table));
    for (const std::string& filter : filters) {
      const auto reading =
          std::find_if(row.readings.begin(), row.readings.end(),
                       [&](const ReadingScore& one) { return one.filter == filter; });
      const bool there = reading != row.readings.end();
      cells.push_back(there ? fmt::format("{:.1f}", 100 * reading->value) : "");
      cells.push_back(there ? interval_text(reading->interval, "{:.1f}", 100) : "");
    }
    if (row.base || !row.delta) {
      cells.insert(cells.end(), {row.base ? "base" : "", "", "", "", ""});
    } else {
      cells.insert(cells.end(),
                   {fmt::format("{:+.1f}", 100 * *row.delta),
                    interval_text(row.delta_interval, "{:+.1f}", 100), fmt::format("{}", row.lost),
                    fmt::format("{}", row.gained), row.p ? fmt::format("{:#.2g}", *row.p) : ""});
    }
    cells.push_back(speed_text(row));
    grid.rows.push_back(std::move(cells));
  }
  return grid;
}

Grid error_details(const Table& table, const Numbers& numbers) {
  Grid grid;
  grid.head = kFirstHeads;
  grid.head.insert(grid.head.end(),
                   {"windows", "K %", "V %", "weights %", "out %", "95 %", "worst layer", "out %"});
  for (const Row& row : table.rows) {
    std::vector<std::string> cells = first_cells(row, numbers);
    cells.push_back(units_text(row, table));
    for (size_t i = 0; i < kErrorNames.size(); ++i) {
      double sum = 0;
      for (const LayerError& layer : row.layers) sum += layer[i];
      cells.push_back(fmt::format("{:#.3g}", 100 * sum / static_cast<double>(row.layers.size())));
    }
    cells.push_back(interval_text(row.interval, "{:#.3g}", 100));
    const auto worst = std::max_element(
        row.layers.begin(), row.layers.end(),
        [](const LayerError& a, const LayerError& b) { return a.back() < b.back(); });
    cells.push_back(fmt::format("{}", worst - row.layers.begin()));
    cells.push_back(fmt::format("{:#.3g}", 100 * worst->back()));
    grid.rows.push_back(std::move(cells));
  }
  return grid;
}

}  // namespace

std::string title_of(const Table& table) { return table.task + ", " + table.mode + table.suffix; }

Grid details(const Table& table, const Numbers& numbers) {
  if (table.kind == Kind::kWindows) return window_details(table, numbers);
  return table.kind == Kind::kSamples ? sample_details(table, numbers)
                                      : error_details(table, numbers);
}

Grid bytes_by_item(const Row& row) {
  Grid grid;
  grid.left = 1;
  grid.head = {"", "bytes"};
  std::vector<Item> items;
  for (int i = 0; i < kItems; ++i)
    if (const Item item = static_cast<Item>(i); row.bytes[0][item] + row.bytes[1][item] > 0) {
      items.push_back(item);
      grid.head.push_back(item_name(item));
    }
  grid.head.push_back("bits/value");
  for (size_t side = 0; side < 2; ++side) {
    const auto bits = [&](int64_t bytes) {
      return fmt::format("{:.4f}",
                         8.0 * static_cast<double>(bytes) / static_cast<double>(row.values));
    };
    std::vector<std::string> cells{side == 0 ? "k" : "v", eval::thousands(row.bytes[side].total())};
    for (const Item item : items) cells.push_back(bits(row.bytes[side][item]));
    cells.push_back(bits(row.bytes[side].total()));
    grid.rows.push_back(std::move(cells));
  }
  return grid;
}

std::string grid_text(const Grid& grid) {
  std::vector<std::vector<std::string>> rows{grid.head};
  rows.insert(rows.end(), grid.rows.begin(), grid.rows.end());
  return eval::align_columns(rows, grid.left);
}

}  // namespace kvx::report
