// What a table shows of many rows: those that match, in order, a page at a time.

/** Rows on one page: more would make a browser slow and nobody wiser. */
export const PAGE_ROWS = 50;

export interface Sorting {
  readonly column: number;
  readonly down: boolean;
}

export interface View<T> {
  readonly rows: readonly T[];
  /** From 0; never beyond the last one. */
  readonly page: number;
  readonly pages: number;
  readonly matching: number;
}

type Cell = string | number;

/** Every word of the filter occurs in the row's text, whatever the case. */
export function matches(text: string, filter: string): boolean {
  const lower = text.toLowerCase();
  return filter.toLowerCase().split(/\s+/).every((word) => lower.includes(word));
}

const words = new Intl.Collator("en", { numeric: true });

export function compare(one: Cell, other: Cell): number {
  if (typeof one === "number" && typeof other === "number") return one - other;
  return words.compare(String(one), String(other));
}

/** One page of the rows that match, sorted by a column. */
export function view<T>(
  rows: readonly T[],
  columns: readonly ((row: T) => Cell)[],
  filter: string,
  sorting: Sorting,
  wanted: number,
): View<T> {
  const column = columns[sorting.column];
  const found = rows.filter((row) => filter === "" || matches(columns.map((cell) => cell(row)).join(" "), filter));
  const sign = sorting.down ? -1 : 1;
  if (column !== undefined) found.sort((one, other) => sign * compare(column(one), column(other)));
  const pages = Math.max(1, Math.ceil(found.length / PAGE_ROWS));
  const page = Math.min(Math.max(0, wanted), pages - 1);
  const first = page * PAGE_ROWS;
  return { rows: found.slice(first, first + PAGE_ROWS), page, pages, matching: found.length };
}
