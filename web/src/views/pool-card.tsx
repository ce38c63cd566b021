import type { ComponentChildren, VNode } from "preact";
import type { Pool } from "../gen/rolltop/v1/broker_pb";
import { poolTitle } from "../model/desktops";
import { formatBytes, sentence } from "../model/format";
import { routeHref } from "../model/route";
import { Icon } from "../ui/icons";

/** A kind of desktop; the whole card is one click. */
export function PoolCard({ pool, running }: { pool: Pool; running: boolean }): VNode {
  const disk = `${formatBytes(pool.overlaySizeMib * 1024n * 1024n)} of disk`;
  const memory = pool.limits?.memoryMib ?? 0n;
  // Who has a desktop of a closed pool may go on in it.
  const closed = running ? "" : sentence(pool.closed);
  return (
    <li>
      <Frame pool={pool} closed={closed !== ""}>
        <span class="pool-title">{poolTitle(pool)}</span>
        {pool.description !== "" && <span class="pool-description">{pool.description}</span>}
        {closed !== "" && (
          <span class="pool-closed" data-testid={`pool-${pool.name}-closed`}>
            {closed}
          </span>
        )}
        <span class="facts">
          <span>{pool.persistent ? "Keeps your files" : "Fresh every time"}</span>
          {pool.overlaySizeMib > 0n && <span>{disk}</span>}
          {memory > 0n && <span>{formatBytes(memory * 1024n * 1024n)} of memory</span>}
        </span>
        {closed === "" && (
          <span class="pool-go">
            {running ? "Continue" : "Open"} <Icon name="open" />
          </span>
        )}
      </Frame>
    </li>
  );
}

/** One click, or none while the pool takes no new desktops. */
function Frame({ pool, closed, children }: FrameProps): VNode {
  if (closed) return <div class="card pool-card pool-card-closed">{children}</div>;
  return (
    <a
      class="card pool-card"
      href={routeHref({ page: "desktop", pool: pool.name })}
      data-testid={`pool-${pool.name}-open`}
    >
      {children}
    </a>
  );
}

interface FrameProps {
  pool: Pool;
  closed: boolean;
  children: ComponentChildren;
}
