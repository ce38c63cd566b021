import type { VNode } from "preact";
import { type Frame, type Point, pathOf, place, ticks } from "../model/scale";

interface Line {
  readonly name: string;
  /** Its colour, by class. */
  readonly tone: "first" | "second";
  readonly points: readonly Point[];
}

interface PlotProps {
  name: string;
  /** Says in words what the plot shows; it is all a screen reader gets. */
  summary: string;
  lines: readonly Line[];
  fromX: number;
  toX: number;
  maxY?: number;
  formatY: (value: number) => string;
}

const WIDTH = 600;
const HEIGHT = 150;
const LEFT = 58;

/** Lines over time. Each point is marked too: one alone would draw no line. */
export function Plot({ name, summary, lines, fromX, toX, maxY, formatY }: PlotProps): VNode {
  const largest = maxY ?? Math.max(0, ...lines.flatMap(({ points }) => points.map(({ y }) => y)));
  const marks = ticks(largest);
  const frame: Frame = { fromX, toX, maxY: marks.at(-1) ?? 1, width: WIDTH - LEFT - 8, height: HEIGHT };
  const minutes = Math.max(1, Math.round((toX - fromX) / 60_000));
  return (
    <figure class="plot" data-testid={`plot-${name}`}>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT + 32}`} role="img" aria-label={summary}>
        <g transform={`translate(${LEFT} 8)`}>
          {marks.map((mark) => {
            const { y } = place(frame, { x: fromX, y: mark });
            return (
              <g key={mark}>
                <line class="plot-mark" x1={0} x2={frame.width} y1={y} y2={y} />
                <text class="plot-text" x={-8} y={y + 4} text-anchor="end">
                  {formatY(mark)}
                </text>
              </g>
            );
          })}
          <text class="plot-text" x={0} y={HEIGHT + 20}>{`${minutes} min ago`}</text>
          <text class="plot-text" x={frame.width} y={HEIGHT + 20} text-anchor="end">
            now
          </text>
          {lines.map(({ name: line, tone, points }) => (
            <g key={line} class={`plot-line plot-${tone}`}>
              <path d={pathOf(frame, points)} />
              {points.length <= 80 &&
                points.map((point) => {
                  const { x, y } = place(frame, point);
                  return <circle key={point.x} cx={x} cy={y} r={2.5} />;
                })}
            </g>
          ))}
        </g>
      </svg>
      <figcaption class="facts">
        {lines.map(({ name: line, tone }) => (
          <span key={line} class={`plot-key plot-${tone}`}>
            {line}
          </span>
        ))}
      </figcaption>
    </figure>
  );
}
