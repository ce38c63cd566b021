import type { ComponentChildren, VNode } from "preact";
import { useState } from "preact/hooks";
import { type Sorting, view } from "../model/table";

export interface Column<T> {
  readonly title: string;
  /** What it is sorted and filtered by, and shown unless `show` says otherwise. */
  readonly value: (row: T) => string | number;
  readonly show?: (row: T) => ComponentChildren;
}

interface GridProps<T> {
  /** Names the table for tests and screen readers. */
  name: string;
  rows: Iterable<T> | undefined;
  columns: readonly Column<T>[];
  rowKey: (row: T) => string;
  /** What to say when there is no row at all. */
  empty: string;
  children?: ComponentChildren;
}

/** A table that is filtered, sorted, and shown a page at a time. */
export function Grid<T>({ name, rows, columns, rowKey, empty, children }: GridProps<T>): VNode {
  const [filter, setFilter] = useState("");
  const [sorting, setSorting] = useState<Sorting>({ column: 0, down: false });
  const [wanted, setWanted] = useState(0);
  const all = [...(rows ?? [])];
  const shown = view(all, columns.map(({ value }) => value), filter.trim(), sorting, wanted);
  const sortBy = (column: number): void =>
    setSorting((before) => ({ column, down: before.column === column && !before.down }));

  return (
    <>
      <div class="grid-bar">
        <input
          type="search"
          class="grid-filter"
          placeholder="Filter"
          aria-label={`Filter ${name}`}
          data-testid={`${name}-filter`}
          value={filter}
          onInput={(event) => {
            setFilter(event.currentTarget.value);
            setWanted(0);
          }}
        />
        <span class="quiet" role="status" data-testid={`${name}-count`}>
          {shown.matching === all.length ? all.length : `${shown.matching} of ${all.length}`}
        </span>
        <span class="grid-acts">{children}</span>
      </div>
      <div class="card grid-scroll" role="region" aria-label={name} tabIndex={0} aria-busy={rows === undefined}>
        <table class="grid" data-testid={name}>
          <thead>
            <tr>
              {columns.map(({ title }, index) => (
                <th key={title} scope="col" aria-sort={sorted(sorting, index)}>
                  <button type="button" onClick={() => sortBy(index)}>
                    {title}
                    <span aria-hidden="true">{sorting.column !== index ? "" : sorting.down ? " ↓" : " ↑"}</span>
                  </button>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.rows.map((row) => (
              <tr key={rowKey(row)} data-testid={`${name}-row-${rowKey(row)}`}>
                {columns.map(({ title, value, show }) => (
                  <td key={title}>{show === undefined ? value(row) : show(row)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
        {rows !== undefined && shown.rows.length === 0 && (
          <p class="grid-empty quiet">{all.length === 0 ? empty : "Nothing matches the filter."}</p>
        )}
      </div>
      {shown.pages > 1 && (
        <nav class="grid-pages" aria-label={`Pages of ${name}`}>
          <button type="button" class="button button-small" disabled={shown.page === 0} onClick={() => setWanted(shown.page - 1)}>
            Back
          </button>
          <span role="status">
            Page {shown.page + 1} of {shown.pages}
          </span>
          <button
            type="button"
            class="button button-small"
            disabled={shown.page + 1 >= shown.pages}
            onClick={() => setWanted(shown.page + 1)}
          >
            Next
          </button>
        </nav>
      )}
    </>
  );
}

function sorted(sorting: Sorting, column: number): "none" | "ascending" | "descending" {
  if (sorting.column !== column) return "none";
  return sorting.down ? "descending" : "ascending";
}
