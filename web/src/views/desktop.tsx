import type { VNode } from "preact";
import { useCallback, useEffect, useState } from "preact/hooks";
import { watchDesktops } from "../api/watch";
import { Screen } from "../display/screen";
import type { Desktop } from "../gen/rolltop/v1/broker_pb";
import { endNotice, poolTitle, unreadNotice } from "../model/desktops";
import type { Steps } from "../model/phases";
import { useSession } from "../session";
import { useNow } from "../ui/clock";
import { Ended } from "./ended";
import { Opening } from "./opening";
import { OpeningBar, PhaseList, StageCard } from "./opening-card";

type Stage =
  | { readonly kind: "opening" }
  | { readonly kind: "screen"; readonly desktop: Desktop; readonly steps: Steps }
  | { readonly kind: "ended"; readonly message: string };

/** Between two looks at the clock, for what is told in minutes. */
const NOTICE_STEP_MS = 10_000;

/** A desktop from the click that opens it to the end of its session. */
export function DesktopPage({ pool }: { pool: string }): VNode {
  const [stage, setStage] = useState<Stage>({ kind: "opening" });
  const [askedAtMs, setAskedAtMs] = useState(() => performance.now());
  const onReady = useCallback(
    (desktop: Desktop, steps: Steps) => setStage({ kind: "screen", desktop, steps }),
    [],
  );
  const onEnded = useCallback((message: string) => setStage({ kind: "ended", message }), []);
  const again = (): void => {
    setAskedAtMs(performance.now());
    setStage({ kind: "opening" });
  };
  switch (stage.kind) {
    case "opening":
      return <Opening pool={pool} onReady={onReady} />;
    case "screen":
      return <Shown {...stage} askedAtMs={askedAtMs} onEnded={onEnded} />;
    case "ended":
      return <Ended message={stage.message} onAgain={again} />;
  }
}

interface ShownProps {
  desktop: Desktop;
  steps: Steps;
  askedAtMs: number;
  onEnded: (message: string) => void;
}

/** The desktop, and what is told of it while someone works in it. */
function Shown({ desktop, steps, askedAtMs, onEnded }: ShownProps): VNode {
  const latest = useLatest(desktop);
  const now = useNow(NOTICE_STEP_MS);
  const [read, setRead] = useState("");
  return (
    <Screen
      desktop={desktop.id}
      title={poolTitle({ title: desktop.poolTitle, name: desktop.pool })}
      persistent={desktop.overlay?.persistent ?? false}
      ends={endNotice(latest, now)}
      notice={unreadNotice(latest, read, now)}
      onNoticeRead={() => setRead(latest.notice?.id ?? "")}
      askedAtMs={askedAtMs}
      cover={steps.size > 0 && <Cover steps={steps} />}
      onEnded={onEnded}
    />
  );
}

/** A desktop as it was told last. */
function useLatest(desktop: Desktop): Desktop {
  const session = useSession();
  const [latest, setLatest] = useState(desktop);
  useEffect(() => {
    const closing = new AbortController();
    const take = (told: Desktop): void => {
      if (told.id === desktop.id) setLatest(told);
    };
    const listener = {
      all: (desktops: readonly Desktop[]) => desktops.forEach(take),
      changed: take,
      // The screen's own connection tells of what matters.
      interrupted: () => undefined,
    };
    void watchDesktops(session.broker, listener, closing.signal);
    return () => closing.abort();
  }, [session, desktop.id]);
  return latest;
}

/** Stays over the screen until the first picture: the steps are done, the connection is not. */
function Cover({ steps }: { steps: Steps }): VNode {
  return (
    <div class="stage stage-cover">
      <StageCard title="Opening your desktop">
        <OpeningBar steps={steps} />
        <PhaseList steps={steps} />
        <p class="hint">Connecting…</p>
      </StageCard>
    </div>
  );
}
