/** Round numbers for the marks of an axis from 0 to at least `max`, at most `most` steps. */
export function ticks(max: number, most = 4): number[] {
  if (!(max > 0)) return [0, 1];
  const raw = max / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= raw * 0.999_999) ?? 10 * power;
  const count = Math.ceil(max / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, index) => Number((index * step).toPrecision(12)));
}

/** A point of a plot, in its own units. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

/** The frame of a plot: what is shown, and how large it is drawn. */
export interface Frame {
  readonly fromX: number;
  readonly toX: number;
  readonly maxY: number;
  readonly width: number;
  readonly height: number;
}

/** Where a point is drawn; what lies outside is drawn at the edge. */
export function place(frame: Frame, { x, y }: Point): Point {
  const within = (share: number): number => Math.min(1, Math.max(0, Number.isFinite(share) ? share : 0));
  const round = (value: number): number => Math.round(value * 10) / 10;
  return {
    x: round(within((x - frame.fromX) / (frame.toX - frame.fromX)) * frame.width),
    y: round((1 - within(y / frame.maxY)) * frame.height),
  };
}

/** The points as an SVG path. */
export function pathOf(frame: Frame, points: readonly Point[]): string {
  return points
    .map((point, index) => {
      const { x, y } = place(frame, point);
      return `${index === 0 ? "M" : "L"}${x} ${y}`;
    })
    .join("");
}
