import type { ComponentChildren, VNode } from "preact";
import { formatMs } from "../model/format";
import { type PhaseStep, type Steps, PHASES, share } from "../model/phases";
import { Logo } from "../ui/logo";
import { Icon } from "../ui/icons";

/** The card that is on the screen until the desktop is. */
export function StageCard({ title, children }: { title: string; children: ComponentChildren }): VNode {
  return (
    <div class="card stage-card">
      <Logo size="large" />
      <h1>{title}</h1>
      {children}
    </div>
  );
}

/** How far the opening is, as a bar. */
export function OpeningBar({ steps }: { steps: Steps }): VNode {
  return <progress class="bar" aria-label="Opening your desktop" max={1} value={share(steps)} />;
}

/** Every step of the opening, with the time it took. */
export function PhaseList({ steps }: { steps: Steps }): VNode {
  return (
    <ol class="phases" aria-live="polite" aria-relevant="text">
      {PHASES.map(({ phase, id, label }) => (
        <PhaseRow key={id} id={id} label={label} step={steps.get(phase) ?? { state: "waiting" }} />
      ))}
    </ol>
  );
}

const STATE_WORDS = { waiting: "waiting", running: "under way", done: "done", failed: "failed" };

function PhaseRow({ id, label, step }: { id: string; label: string; step: PhaseStep }): VNode {
  return (
    <li class={`phase phase-${step.state}`} data-testid={`progress-${id}`} data-state={step.state}>
      <span class="phase-mark">
        {step.state === "done" && <Icon name="check" />}
        {step.state === "failed" && <Icon name="cross" />}
      </span>
      <span>{label}</span>
      <span class="phase-time">
        {step.ms === undefined ? <span class="quiet">{STATE_WORDS[step.state]}</span> : formatMs(step.ms)}
      </span>
    </li>
  );
}
