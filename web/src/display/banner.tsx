import type { VNode } from "preact";
import { useCallback, useEffect, useState } from "preact/hooks";
import { formatMs } from "../model/format";
import type { ViewerState } from "./keep-shown";

/** How long the note about closing the tab stays, in milliseconds. */
const NOTE_MS = 6_000;

interface BannerProps {
  state: ViewerState;
  /** From the click to the first picture; undefined until then. */
  tookMs: number | undefined;
  /** That and why the desktop will be ended, or nothing. */
  ends: string;
  /** What an operator wants to be known, or nothing. */
  notice: string;
  onNoticeRead: () => void;
  onRetry: () => void;
}

/** One line over the desktop: what goes on with the connection. */
export function Banner({ state, tookMs, ends, notice, onNoticeRead, onRetry }: BannerProps): VNode {
  const [noted, setNoted] = useState(false);
  const onNoted = useCallback(() => setNoted(true), []);
  return (
    <div class="banner-place" role="status">
      {state.kind === "connecting" && <p class="banner">Connecting…</p>}
      {state.kind === "connected" && !noted && <FirstNote tookMs={tookMs ?? 0} onSeen={onNoted} />}
      {state.kind === "connected" && ends !== "" && (
        <p class="banner banner-warn" data-testid="ends-note">
          {ends}
        </p>
      )}
      {state.kind === "connected" && notice !== "" && (
        <p class="banner banner-warn">
          <span data-testid="notice">{notice}</span>
          <button type="button" class="button button-small" data-testid="notice-read" onClick={onNoticeRead}>
            OK
          </button>
        </p>
      )}
      {state.kind === "interrupted" && (
        <p class="banner banner-warn">
          <span>{state.message}</span>
          <button type="button" class="button button-small" onClick={onRetry}>
            Try now
          </button>
        </p>
      )}
    </div>
  );
}

/** Says that it is here, and that nothing is lost by leaving. */
function FirstNote({ tookMs, onSeen }: { tookMs: number; onSeen: () => void }): VNode {
  useEffect(() => {
    const timer = setTimeout(onSeen, NOTE_MS);
    return () => clearTimeout(timer);
  }, [onSeen]);
  return (
    <p class="banner banner-fading" data-testid="opened-note">
      Opened in {formatMs(tookMs)}. You can close this tab at any time; your programs keep running.
    </p>
  );
}
