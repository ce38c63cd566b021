import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { problemOf } from "../api/errors";
import type { Desktop } from "../gen/rolltop/v1/broker_pb";
import { DesktopState } from "../gen/rolltop/v1/common_pb";
import { endNotice, endWarning, poolTitle, runningFor, stateLook } from "../model/desktops";
import { formatBytes, sentence } from "../model/format";
import { routeHref } from "../model/route";
import { endsSession, useSession } from "../session";
import { Confirm } from "../ui/dialog";
import { ErrorNotice } from "../ui/notice";

/** One desktop of the caller's. Where it runs is not the user's concern. */
export function DesktopCard({ desktop, now }: { desktop: Desktop; now: number }): VNode {
  const session = useSession();
  const [asking, setAsking] = useState(false);
  const [ending, setEnding] = useState(false);
  const [message, setMessage] = useState("");
  const title = poolTitle({ title: desktop.poolTitle, name: desktop.pool });
  const closing = ending || desktop.state === DesktopState.STOPPING;
  const failed = desktop.state === DesktopState.FAILED;
  const look = stateLook(closing ? DesktopState.STOPPING : desktop.state);

  const end = async (): Promise<void> => {
    setAsking(false);
    setEnding(true);
    setMessage("");
    try {
      await session.broker.stopDesktop({ desktop: desktop.id });
    } catch (error) {
      const problem = problemOf(error);
      // Somebody, or the user in the desktop, was faster: that is what was wanted.
      if (problem.kind !== "missing" && !endsSession(session, problem)) setMessage(problem.message);
    }
    setEnding(false);
  };

  return (
    <li class="card desktop-card">
      <div class="desktop-facts">
        <h3>{title}</h3>
        <p class="facts">
          <span class={`state state-${look.tone}`} role="status">
            {look.label}
          </span>
          {facts(desktop, now).map((fact) => (
            <span key={fact}>{fact}</span>
          ))}
        </p>
        {!closing && endNotice(desktop, now) !== "" && (
          <p class="facts" role="status">
            {endNotice(desktop, now)}
          </p>
        )}
        {failed && <p class="facts">{sentence(desktop.failure?.reason ?? "")}</p>}
      </div>
      <div class="actions">
        {!failed && (
          <button
            type="button"
            class="button"
            disabled={closing}
            data-testid={`desktop-${desktop.pool}-end`}
            onClick={() => setAsking(true)}
          >
            Log out
          </button>
        )}
        <a
          class="button button-primary"
          {...(closing ? {} : { href: routeHref({ page: "desktop", pool: desktop.pool }) })}
          aria-disabled={closing}
          data-testid={`desktop-${desktop.pool}-open`}
          aria-label={`${failed ? "Try again" : "Open"}: ${title}`}
        >
          {failed ? "Try again" : "Open"}
        </a>
      </div>
      {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
      {asking && (
        <Confirm
          title={`Log out of ${title}?`}
          text={endWarning(desktop.overlay?.persistent ?? false)}
          action="Log out"
          onConfirm={() => void end()}
          onClose={() => setAsking(false)}
        />
      )}
    </li>
  );
}

/** The small print of a desktop that runs. */
function facts(desktop: Desktop, now: number): string[] {
  if (desktop.state !== DesktopState.RUNNING) return [];
  const memory = desktop.usage?.memoryBytes ?? 0n;
  return [
    runningFor(desktop, now),
    memory > 0n ? `${formatBytes(memory)} of memory` : "",
    desktop.viewer === undefined ? "" : "on a screen now",
  ].filter((fact) => fact !== "");
}
