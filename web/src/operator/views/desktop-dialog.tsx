import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { VNode } from "preact";
import { useState } from "preact/hooks";
import type { BrokerClient } from "../../api/client";
import type { Desktop } from "../../gen/rolltop/v1/broker_pb";
import { DesktopState } from "../../gen/rolltop/v1/common_pb";
import { endNotice, endWarning, stateLook } from "../../model/desktops";
import { sentence } from "../../model/format";
import { useSession } from "../../session";
import { useNow } from "../../ui/clock";
import { Confirm, Dialog } from "../../ui/dialog";
import { ErrorNotice } from "../../ui/notice";
import { useAct } from "../data";
import { Facts, State } from "../../ui/parts";
import { Explanation } from "./explanation";
import { DesktopLimits } from "./desktop-limits";
import { LiveStats, LogTail } from "./desktop-live";

type Asking = "stop" | "restart" | undefined;

/** One desktop of somebody's: what it does, and what can be done about it. */
export function DesktopDialog({ desktop, onClose }: { desktop: Desktop; onClose: () => void }): VNode {
  const { broker } = useSession();
  const { busy, message, act, say } = useAct();
  const [asking, setAsking] = useState<Asking>();
  const [more, setMore] = useState<"log" | "placement">();
  const now = useNow(10_000);
  const { id, state, viewer } = desktop;
  const running = state === DesktopState.RUNNING;
  const frozen = state === DesktopState.FROZEN;

  const confirmed = async (): Promise<void> => {
    const restarted = asking === "restart";
    setAsking(undefined);
    await act(async () => {
      await broker.stopDesktop({ desktop: id });
      if (restarted) await started(broker, desktop);
    });
  };
  if (asking !== undefined) {
    return (
      <Confirm
        title={asking === "stop" ? `Stop ${id}?` : `Restart ${id}?`}
        text={endWarning(desktop.overlay?.persistent ?? false)}
        action={asking === "stop" ? "Stop" : "Restart"}
        onConfirm={() => void confirmed()}
        onClose={() => setAsking(undefined)}
      />
    );
  }
  const toggle = (what: "log" | "placement"): void => setMore(more === what ? undefined : what);
  return (
    <Dialog title={id} onClose={onClose}>
      <div class="wide" data-testid="desktop-dialog">
        {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
        <p class="facts" role="status">
          <State look={stateLook(state)} />
          <span>{sentence(desktop.failure?.reason ?? "")}</span>
          <span>{endNotice(desktop, now)}</span>
        </p>
        <Facts
          facts={[
            ["Host", desktop.host],
            ["Image", desktop.version === "" ? desktop.image : `${desktop.image} (${desktop.version})`],
            ["Number, epoch", `${desktop.number}, ${desktop.epoch}`],
            ["Address", desktop.ip],
            ["MAC", desktop.mac],
            ["Started", desktop.startedAt && timestampDate(desktop.startedAt).toLocaleString()],
            ["On the screen of", viewer && `${viewer.user}, from ${viewer.address}`],
            ["Overlay", desktop.overlay?.name],
          ]}
        />
        {desktop.behind && (
          <p class="notice" data-testid="desktop-behind">
            {desktop.nextVersion === ""
              ? "It runs another version than its pool names now, which its host has not got."
              : `Its next start takes version ${desktop.nextVersion}.`}
          </p>
        )}
        {(running || frozen) && <DesktopLimits desktop={desktop} busy={busy} act={act} say={say} />}
        {running && <LiveStats desktop={id} />}
        <div class="actions">
          <button type="button" class="button button-small" aria-pressed={more === "log"} disabled={!running} onClick={() => toggle("log")}>
            Log
          </button>
          <button type="button" class="button button-small" aria-pressed={more === "placement"} onClick={() => toggle("placement")}>
            Placement
          </button>
        </div>
        {more === "log" && <LogTail desktop={id} />}
        {more === "placement" && <Explanation pool={desktop.pool} user={desktop.user} />}
        <div class="actions actions-end">
          {running && (
            <button type="button" class="button" disabled={busy} onClick={() => void act(() => broker.freezeDesktop({ desktop: id }))}>
              Freeze
            </button>
          )}
          {frozen && (
            <button type="button" class="button" disabled={busy} onClick={() => void act(() => broker.thawDesktop({ desktop: id }))}>
              Thaw
            </button>
          )}
          <button type="button" class="button" disabled={busy} onClick={() => setAsking("restart")}>
            Restart
          </button>
          <button type="button" class="button" disabled={busy} data-testid="desktop-stop" onClick={() => setAsking("stop")}>
            Stop
          </button>
          <button type="button" class="button button-primary" onClick={onClose}>
            Close
          </button>
        </div>
      </div>
    </Dialog>
  );
}

/** Starts it anew for the same person; resolves when it is there. */
async function started(broker: BrokerClient, { pool, user }: Desktop): Promise<void> {
  const answers = broker.startDesktop({ pool, user, requestId: crypto.randomUUID() });
  for await (const { message } of answers) {
    if (message.case === "desktop") return;
  }
}
