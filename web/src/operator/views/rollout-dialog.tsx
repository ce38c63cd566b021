import type { VNode } from "preact";
import { useState } from "preact/hooks";
import type { Pool } from "../../gen/rolltop/v1/broker_pb";
import { type Rollout, RolloutState } from "../../gen/rolltop/v1/rollouts_pb";
import { formatWhen, sentence } from "../../model/format";
import { useNow } from "../../ui/clock";
import { Confirm, Dialog } from "../../ui/dialog";
import { ErrorNotice } from "../../ui/notice";
import { Facts, Field, State } from "../../ui/parts";
import { useAct, useCluster } from "../data";
import { type PoolCount, type SettingsDraft, USUAL_SETTINGS, isUnderWay, rolloutLook, rolloutShare, rolloutWords, settingsOf } from "../model/rollouts";

interface RolloutDialogProps {
  pool: Pool;
  count: PoolCount;
  /** The last one, as it changes. */
  rollout: Rollout | undefined;
  onChanged: () => void;
  onClose: () => void;
}

/** Brings the desktops of a pool to the version its image has now, and tells how far that is. */
export function RolloutDialog({ pool: { name, image }, count: { running, behind }, rollout, onChanged, onClose }: RolloutDialogProps): VNode {
  const { rollouts } = useCluster().clients;
  const { busy, message, act, say } = useAct();
  const [draft, setDraft] = useState(USUAL_SETTINGS);
  const [version, setVersion] = useState<string>();
  const now = useNow(1_000);
  const pool = name;
  const underWay = rollout !== undefined && isUnderWay(rollout);
  const run = (work: () => Promise<unknown>): void => void act(work).then((worked) => worked && onChanged());

  const start = (event: SubmitEvent): void => {
    event.preventDefault();
    const found = settingsOf(draft);
    if ("fault" in found) return say(found.fault);
    run(() => rollouts.startRollout({ pool, settings: found.settings }));
  };
  if (version !== undefined) {
    const back = (): void => setVersion(undefined);
    return (
      <Confirm
        title={`Roll ${name} back?`}
        text={`The pool names ${version === "" ? "the version from before" : version} from then on, and desktops that run another are restarted, as the last roll-out was set up.`}
        action="Roll back"
        onConfirm={() => {
          back();
          run(() => rollouts.rollBack({ pool }));
        }}
        onClose={back}
      />
    );
  }
  return (
    <Dialog title={`Roll-out: ${name}`} onClose={onClose}>
      <div class="wide" data-testid="rollout-dialog">
        {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
        <p data-testid="rollout-behind">
          {behind === 0
            ? `None of ${running} running desktops is behind ${image}.`
            : `${behind} of ${running} running desktops are behind ${image}: their next start takes another version.`}
        </p>
        {rollout !== undefined && <Progress rollout={rollout} now={now} />}
        {!underWay && behind > 0 && (
          <form data-testid="rollout-form" onSubmit={start}>
            <SettingsFields draft={draft} onChange={setDraft} />
            <button class="button button-primary" aria-busy={busy} disabled={busy} data-testid="rollout-start">
              Restart them
            </button>
          </form>
        )}
        <div class="actions actions-end">
          {rollout?.state === RolloutState.RUNNING && (
            <button type="button" class="button" disabled={busy} data-testid="rollout-pause" onClick={() => run(() => rollouts.pauseRollout({ pool }))}>
              Pause
            </button>
          )}
          {(rollout?.state === RolloutState.PAUSED || rollout?.state === RolloutState.HALTED) && (
            <button type="button" class="button" disabled={busy} data-testid="rollout-resume" onClick={() => run(() => rollouts.resumeRollout({ pool }))}>
              Go on
            </button>
          )}
          {underWay && (
            <button type="button" class="button" disabled={busy} data-testid="rollout-cancel" onClick={() => run(() => rollouts.cancelRollout({ pool }))}>
              Cancel it
            </button>
          )}
          {rollout !== undefined && !rollout.back && rollout.before !== "" && (
            <button type="button" class="button" disabled={busy} data-testid="rollout-back" onClick={() => setVersion(rollout.before)}>
              Roll back
            </button>
          )}
          <button type="button" class="button button-primary" data-testid="rollout-close" onClick={onClose}>
            Close
          </button>
        </div>
      </div>
    </Dialog>
  );
}

function Progress({ rollout, now }: { rollout: Rollout; now: number }): VNode {
  return (
    <>
      <p class="facts" role="status">
        <State look={rolloutLook(rollout.state)} />
        <span data-testid="rollout-words">{rolloutWords(rollout, now)}</span>
      </p>
      <progress class="rollout-bar" max={1} value={rolloutShare(rollout)} aria-label="Desktops that are done" />
      <p>{sentence(rollout.because)}</p>
      <Facts
        facts={[
          [rollout.back ? "Back to" : "To", rollout.version],
          ["From", rollout.before],
          ["By", rollout.by],
          ["Started", formatWhen(rollout.startedAt)],
          ["Ended", formatWhen(rollout.endedAt)],
          ["At a time", String(rollout.batch)],
          ["Being restarted", rollout.restarting.map(({ desktop }) => desktop).join(", ")],
        ]}
      />
      {rollout.failures.length > 0 && (
        <>
          <h3>Starts that failed</h3>
          <ul class="has-list" data-testid="rollout-failures">
            {rollout.failures.map(({ desktop, host, code, reason, at }) => (
              <li key={`${desktop} ${formatWhen(at)}`}>
                <span>
                  {desktop} {host !== "" && `on ${host}`}
                </span>
                <span class="quiet">
                  {code} {sentence(reason)}
                </span>
              </li>
            ))}
          </ul>
        </>
      )}
    </>
  );
}

const FIELDS: readonly (readonly [keyof SettingsDraft, string, string])[] = [
  ["batch", "At a time", "10% of them, or 5 desktops."],
  ["deadline", "Who is connected has", "8h or 0s. Empty: until they leave."],
  ["warning", "They are told before", "Empty: 10 minutes. 0s: not."],
  ["failures", "Failures that halt it", "1 to 100."],
];

function SettingsFields({ draft, onChange }: { draft: SettingsDraft; onChange: (draft: SettingsDraft) => void }): VNode {
  return (
    <div class="field-row">
      {FIELDS.map(([name, label, hint]) => (
        <Field key={name} label={label} hint={hint}>
          <input
            value={draft[name]}
            autocomplete="off"
            data-testid={`rollout-${name}`}
            onInput={(event) => onChange({ ...draft, [name]: event.currentTarget.value })}
          />
        </Field>
      ))}
    </div>
  );
}
