import type { VNode } from "preact";
import { stateLook } from "../../model/desktops";
import { formatBytes, formatMs } from "../../model/format";
import { useNow } from "../../ui/clock";
import { useCluster } from "../data";
import { counted, hostLook, room } from "../model/hosts";
import { KEPT_MS, percentile, steps } from "../model/start-times";
import { Plot } from "../ui/plot";

/** Load plots of more hosts than these would be a wall of paper. */
const MOST_PLOTS = 12;
const STEP_MS = 60_000;

/** How the cluster is, at one look. */
export function OverviewPage(): VNode {
  const { hosts, desktops, starts } = useCluster();
  const now = useNow(5_000);
  const all = [...(hosts?.values() ?? [])];
  const left = room(all);
  const recent = starts.recent(now);
  const took = recent.map(({ tookMs }) => tookMs);
  const perMinute = steps(recent, STEP_MS);
  const said = recent.length === 0
    ? "No desktop that is known here was started in the last hour."
    : `${recent.length} starts: half within ${formatMs(percentile(took, 0.5))}, 99 % within ${formatMs(percentile(took, 0.99))}.`;
  return (
    <>
      <ul class="tiles">
        <Tile name="hosts" title="Hosts" value={hosts?.size} parts={counted(all.map((host) => hostLook(host).label))} />
        <Tile
          name="desktops"
          title="Desktops"
          value={desktops?.size}
          parts={counted([...(desktops?.values() ?? [])].map(({ state }) => stateLook(state).label))}
        />
        <Tile name="places" title="Room for desktops" value={left.desktops} parts={[["of", left.desktopsTotal]]} />
        <Tile
          name="memory"
          title="Memory left"
          value={formatBytes(left.memory)}
          parts={[["of", formatBytes(left.memoryTotal)], ["Processors", left.cpus]]}
        />
        <Tile name="disk" title="Disk left for overlays" value={formatBytes(left.disk)} parts={[["Hosts with room", left.ready]]} />
      </ul>
      <h2 class="operator-title">Start times</h2>
      <div class="card plot-card">
        <p data-testid="start-times">{said}</p>
        <Plot
          name="starts"
          summary={`Start times over the last hour. ${said}`}
          lines={[
            { name: "half of a minute's starts within", tone: "first", points: perMinute.map(({ atMs, p50 }) => ({ x: atMs, y: p50 })) },
            { name: "99 % within", tone: "second", points: perMinute.map(({ atMs, p99 }) => ({ x: atMs, y: p99 })) },
          ]}
          fromX={now - KEPT_MS}
          toX={now}
          formatY={formatMs}
        />
        <p class="hint">Of the desktops that are there, and of those seen since this page was opened.</p>
      </div>
      <h2 class="operator-title">Load</h2>
      <HostLoads now={now} />
    </>
  );
}

function HostLoads({ now }: { now: number }): VNode {
  const { hosts, loads } = useCluster();
  const names = [...(hosts?.keys() ?? [])].sort();
  const fullest = names
    .map((name) => ({ name, samples: loads.of(name) }))
    .sort((one, other) => (other.samples.at(-1)?.memory ?? -1) - (one.samples.at(-1)?.memory ?? -1))
    .slice(0, MOST_PLOTS);
  return (
    <>
      <div class="plots">
        {fullest.map(({ name, samples }) => {
          const last = samples.at(-1);
          const said = last === undefined
            ? `The load of ${name} is not known.`
            : `${name}: ${Math.round(last.memory)} % of memory in use, ${Math.round(last.desktops)} % of places taken.`;
          return (
            <div key={name} class="card plot-card">
              <h3>{name}</h3>
              <Plot
                name={`load-${name}`}
                summary={said}
                lines={[
                  { name: "memory in use", tone: "first", points: samples.map(({ atMs, memory }) => ({ x: atMs, y: memory })) },
                  { name: "places taken", tone: "second", points: samples.map(({ atMs, desktops }) => ({ x: atMs, y: desktops })) },
                ]}
                fromX={Math.min(samples[0]?.atMs ?? now, now - 600_000)}
                toX={now}
                maxY={100}
                formatY={(value) => `${value} %`}
              />
            </div>
          );
        })}
      </div>
      <p class="hint">
        Since this page was opened, for an hour at most.
        {names.length > MOST_PLOTS && ` The ${MOST_PLOTS} fullest of ${names.length} hosts; the others are on the page Hosts.`}
      </p>
    </>
  );
}

interface TileProps {
  name: string;
  title: string;
  value: string | number | undefined;
  parts: readonly (readonly [string, string | number])[];
}

function Tile({ name, title, value, parts }: TileProps): VNode {
  return (
    <li class="card tile" data-testid={`tile-${name}`} aria-busy={value === undefined}>
      <h2>{title}</h2>
      <p class="tile-value">{value ?? "…"}</p>
      <p class="facts">
        {parts.map(([label, part]) => (
          <span key={label}>
            {label} {part}
          </span>
        ))}
      </p>
    </li>
  );
}
