import type { VNode } from "preact";
import { useCallback, useState } from "preact/hooks";
import { Screen } from "../display/screen";
import type { Desktop } from "../gen/rolltop/v1/broker_pb";
import { poolTitle } from "../model/desktops";
import type { Steps } from "../model/phases";
import { Ended } from "./ended";
import { Opening } from "./opening";
import { OpeningBar, PhaseList, StageCard } from "./opening-card";

type Stage =
  | { readonly kind: "opening" }
  | { readonly kind: "screen"; readonly desktop: Desktop; readonly steps: Steps }
  | { readonly kind: "ended"; readonly message: string };

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
    case "screen": {
      const { desktop, steps } = stage;
      const title = poolTitle({ title: desktop.poolTitle, name: desktop.pool });
      const persistent = desktop.overlay?.persistent ?? false;
      return (
        <Screen
          desktop={desktop.id}
          title={title}
          persistent={persistent}
          askedAtMs={askedAtMs}
          cover={steps.size > 0 && <Cover steps={steps} />}
          onEnded={onEnded}
        />
      );
    }
    case "ended":
      return <Ended message={stage.message} onAgain={again} />;
  }
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
