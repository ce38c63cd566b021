import type { ComponentChildren, VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { endsSession, useSession } from "../session";
import { Banner } from "./banner";
import { ClipboardSync } from "./clipboard";
import type { ViewerState } from "./keep-shown";
import { SentAway, TakenOver } from "./taken-over";
import { Toolbar } from "./toolbar";
import { Viewer } from "./viewer";

interface ScreenProps {
  /** "pool/user". */
  desktop: string;
  title: string;
  persistent: boolean;
  /** That and why it will be ended, or nothing. */
  ends: string;
  /** What an operator wants to be known, or nothing. */
  notice: string;
  onNoticeRead: () => void;
  /** When the person asked for it, by `performance.now`. */
  askedAtMs: number;
  /** Shown until the first picture. */
  cover: ComponentChildren;
  onEnded: (message: string) => void;
}

/** What goes with one viewer, from its making to its close. */
interface Live {
  readonly viewer: Viewer;
  readonly clipboard: ClipboardSync;
}

/** The desktop itself, over the whole page. */
export function Screen(props: ScreenProps): VNode {
  const { desktop, title, persistent, ends, notice, onNoticeRead, askedAtMs, cover, onEnded } = props;
  const session = useSession();
  const screen = useRef<HTMLDivElement>(null);
  const [live, setLive] = useState<Live>();
  const [state, setState] = useState<ViewerState>({ kind: "connecting" });
  const [remoteText, setRemoteText] = useState("");
  // From the click to the first picture, in milliseconds.
  const [tookMs, setTookMs] = useState<number>();
  // Counts up to connect anew after another viewer took over.
  const [turn, setTurn] = useState(0);

  useEffect(() => {
    document.title = `${title} · Rolltop`;
  }, [title]);

  useEffect(() => {
    if (screen.current === null) return undefined;
    const clipboard = new ClipboardSync((text) => viewer.paste(text));
    const viewer = new Viewer({
      screen: screen.current,
      ticket: async (signal) => (await session.broker.openConnection({ desktop }, { signal })).path,
      onState: (next) => {
        setState(next);
        if (next.kind === "connected") {
          setTookMs((before) => before ?? performance.now() - askedAtMs);
          void clipboard.pull();
        }
        if (next.kind === "ended") onEnded(next.message);
        if (next.kind === "signed-out") endsSession(session, next.problem);
      },
      onClipboard: (text) => {
        setRemoteText(text);
        void clipboard.fromDesktop(text);
      },
    });
    const pull = (): void => void clipboard.pull();
    window.addEventListener("focus", pull);
    setLive({ viewer, clipboard });
    return () => {
      window.removeEventListener("focus", pull);
      viewer.close();
    };
  }, [session, desktop, askedAtMs, onEnded, turn]);

  const again = (): void => setTurn((before) => before + 1);
  return (
    <main class="desktop">
      <div ref={screen} class="screen" data-testid="screen" data-state={screenState(state)} />
      {live !== undefined && state.kind !== "taken-over" && state.kind !== "sent-away" && (
        <Toolbar
          {...live}
          desktop={desktop}
          title={title}
          persistent={persistent}
          remoteText={remoteText}
        />
      )}
      {state.kind === "connecting" && tookMs === undefined && cover}
      <Banner
        state={state}
        tookMs={tookMs}
        ends={ends}
        notice={notice}
        onNoticeRead={onNoticeRead}
        onRetry={() => live?.viewer.retryNow()}
      />
      {state.kind === "taken-over" && <TakenOver onUseHere={again} />}
      {state.kind === "sent-away" && <SentAway message={state.message} onAgain={again} />}
    </main>
  );
}

function screenState(state: ViewerState): "connecting" | "connected" | "closed" {
  switch (state.kind) {
    case "connecting":
    case "interrupted":
      return "connecting";
    case "connected":
      return "connected";
    case "taken-over":
    case "sent-away":
    case "ended":
    case "signed-out":
      return "closed";
  }
}
