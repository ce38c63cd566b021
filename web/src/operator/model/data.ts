import { durationMs } from "@bufbuild/protobuf/wkt";
import {
  type Data,
  type DataResult,
  type Volume,
  VolumeCondition,
  VolumeKind,
  VolumeTask,
  type WorkProgress,
} from "../../gen/rolltop/v1/storage_pb";
import type { StateLook } from "../../model/desktops";
import { formatBytes, formatMs } from "../../model/format";

/** What kind of thing is kept. */
export function kindName(kind: VolumeKind): string {
  return kind === VolumeKind.HOME ? "home" : "desktop";
}

/** How kept data is. */
export function dataLook({ volume, problem }: Pick<Data, "volume" | "problem">): StateLook {
  if (volume?.work !== undefined) return { label: TASKS[volume.work.task] ?? "Working", tone: "busy" };
  switch (volume?.condition) {
    case VolumeCondition.IN_USE:
      return { label: "In use", tone: "good" };
    case VolumeCondition.AT_REST:
      return { label: "At rest", tone: "still" };
    case VolumeCondition.SOUND:
      return { label: "Sound", tone: "still" };
    case VolumeCondition.REPAIRABLE:
      return { label: "Repaired at the next start", tone: "bad" };
    case VolumeCondition.FAULT_IN_USE:
      return { label: "Faulty, in use", tone: "bad" };
    case VolumeCondition.DAMAGED:
      return { label: "Damaged", tone: "bad" };
    default:
      return { label: problem === "" ? "Unknown" : "Out of reach", tone: "bad" };
  }
}

const TASKS: Readonly<Record<VolumeTask, string>> = {
  [VolumeTask.UNSPECIFIED]: "Working",
  [VolumeTask.GROW]: "Growing",
  [VolumeTask.TRIM]: "Trimming",
  [VolumeTask.CHECK]: "Checking",
  [VolumeTask.DELETE]: "Deleting",
  [VolumeTask.SNAPSHOT]: "Making a snapshot",
  [VolumeTask.DELETE_SNAPSHOT]: "Deleting a snapshot",
  [VolumeTask.ROLL_BACK]: "Rolling back",
  [VolumeTask.CLONE]: "Copying",
  [VolumeTask.EXPORT]: "Exporting",
  [VolumeTask.IMPORT]: "Importing",
};

/** How far work is: in words, and as a share where that is known. */
export function workWords(progress: WorkProgress): { readonly text: string; readonly share: number | undefined } {
  const { task, elapsed, doneBytes, totalBytes } = progress;
  const known = totalBytes > 0n;
  const parts = [
    TASKS[task] ?? "Working",
    known && `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`,
    elapsed !== undefined && `for ${formatMs(durationMs(elapsed))}`,
  ];
  const share = known ? Math.min(1, Number(doneBytes) / Number(totalBytes)) : undefined;
  return { text: parts.filter((part) => part !== false).join(", "), share };
}

/** What came of work, in a sentence. */
export function resultWords({ snapshot, check, trimmedBytes, data }: DataResult, task: VolumeTask): string {
  switch (task) {
    case VolumeTask.SNAPSHOT:
      return `The snapshot ${snapshot?.name ?? ""} is made.`;
    case VolumeTask.ROLL_BACK:
      return `It is what it was. What it had become is kept as ${snapshot?.name ?? "a snapshot"}.`;
    case VolumeTask.TRIM:
      return `${formatBytes(trimmedBytes)} were given back to the host.`;
    case VolumeTask.CHECK:
      return checkWords(check?.condition);
    case VolumeTask.GROW:
      return `It has ${formatBytes(data?.volume?.sizeBytes ?? 0n)} now.`;
    case VolumeTask.CLONE:
      return `It is copied to ${data?.id ?? ""}.`;
    default:
      return "Done.";
  }
}

function checkWords(condition: VolumeCondition | undefined): string {
  switch (condition) {
    case VolumeCondition.SOUND:
      return "It is sound.";
    case VolumeCondition.REPAIRABLE:
      return "It has faults that the next start repairs.";
    case VolumeCondition.DAMAGED:
      return "It is damaged: no desktop starts with it.";
    default:
      return "It was looked through.";
  }
}

/** The share of its room that files take, in percent; undefined where that is not known. */
export function usedShare(volume: Pick<Volume, "usedBytes" | "sizeBytes"> | undefined): number | undefined {
  if (volume?.usedBytes === undefined || volume.sizeBytes <= 0n) return undefined;
  return (Number(volume.usedBytes) / Number(volume.sizeBytes)) * 100;
}
