/** Limits: how many changes of a kind may be made, or seen, at once before somebody is asked. */
import type { KindLimits, Limit, Limits } from "./configuration.ts";
import { type ExportKind, isDisabled } from "./exporting.ts";
import { type ConnectorSpaceObject, importedImage } from "./model.ts";
import { imagesEqual } from "./staging.ts";
import { dnKey } from "./values.ts";

export type LimitedKind = keyof KindLimits;

/** Adopting and enabling are updates to the limits. */
const limitedAs: Readonly<Record<ExportKind, LimitedKind>> = {
  add: "add",
  adopt: "update",
  update: "update",
  rename: "rename",
  enable: "update",
  disable: "disable",
  delete: "delete",
};

/** In the order in which they are told: what takes most away comes first. */
export const limitedKinds: readonly LimitedKind[] = ["delete", "disable", "add", "update", "rename"];

/** How often, by kind of change. */
export type KindCounts = Readonly<Record<string, number>>;

export interface ExceededLimit {
  /** `stopped-deletion-threshold-exceeded`, `stopped-disable-threshold-exceeded`, … */
  readonly status: string;
  readonly detail: string;
}

/**
 * The limit that an export would break; null when none.
 * @param planned what would be sent now
 * @param recent what was exported in the last 24 hours without anybody's approval
 * @param connected how many objects of the connector are connected and in the directory
 */
export function exceededExportLimit(
  connector: string,
  limits: Limits,
  planned: KindCounts,
  recent: KindCounts,
  connected: number,
): ExceededLimit | null {
  for (const kind of limitedKinds) {
    const now = countOf(planned, kind);
    const count = now + countOf(recent, kind);
    // An empty connector space is filled without a percentage: there is nothing to count it of.
    const broken = now === 0 ? null : brokenLimit(limits.export[kind], count, connected, limits.percentFrom);
    if (broken === null) continue;
    return {
      status: thresholdStatus(kind),
      detail:
        `${now} pending exports of kind ${kind} (${count} with those of the last 24 hours) exceed the limit of ` +
        `${broken}. Nothing was exported to ${connector}; it is held until somebody decides.`,
    };
  }
  return null;
}

/**
 * What an effect that is not exported yet would break if it were exported at once: each limit in a sentence.
 * @param effect how often, by kind of change
 * @param connected how many objects of the connector are connected and in the directory
 */
export function limitsBeyondWhich(
  connector: string,
  limits: Limits,
  effect: KindCounts,
  connected: number,
): readonly string[] {
  return limitedKinds.flatMap((kind) => {
    const count = countOf(effect, kind);
    const broken = brokenLimit(limits.export[kind], count, connected, limits.percentFrom);
    return broken === null
      ? []
      : [`The rules would ${kind} ${count} objects of ${connector}, more than its limit of ${broken}.`];
  });
}

/**
 * What an import has seen others do: to a connected object, or an object that is new; null: nothing that counts.
 * What we have exported ourselves and the import only confirms does not.
 */
export function seenChange(
  before: ConnectorSpaceObject | null,
  after: ConnectorSpaceObject,
): LimitedKind | null {
  if (before === null) return "add";
  if (before.metaverseId === null || isGone(before)) return null;
  if (isGone(after)) return before.unconfirmed?.change === "delete" ? null : "delete";
  const [was, is] = [importedImage(before), importedImage(after)];
  const wasDisabled = isDisabled(was?.attributes ?? {});
  const byUs = before.unconfirmed !== null && isDisabled(before.unconfirmed.expected);
  if (!wasDisabled && !byUs && isDisabled(is?.attributes ?? {})) return "disable";
  if (before.unconfirmed !== null || was === null || is === null || imagesEqual(was, is)) return null;
  return dnKey(was.dn) === dnKey(is.dn) ? "update" : "rename";
}

function isGone({ absence, pendingImport }: ConnectorSpaceObject): boolean {
  return pendingImport?.change === "delete" || (absence !== null && absence.byRules !== true);
}

/** How what is seen is called, of objects. */
const seenAs: Readonly<Record<LimitedKind, string>> = {
  add: "new",
  update: "changed",
  rename: "renamed",
  delete: "gone",
  disable: "disabled",
};

/** The limit that what an import has seen goes beyond; null when none. */
export function exceededImportLimit(
  connector: string,
  limits: Limits,
  seen: Readonly<Partial<Record<LimitedKind, number>>>,
  connected: number,
): ExceededLimit | null {
  for (const kind of limitedKinds) {
    const count = seen[kind] ?? 0;
    const broken =
      count === 0 ? null : brokenLimit(limits.import[kind], count, connected, limits.percentFrom);
    if (broken === null) continue;
    return {
      status: thresholdStatus(kind),
      detail: `The import of ${connector} saw ${count} objects ${seenAs[kind]}, more than the limit of ${broken}.`,
    };
  }
  return null;
}

function thresholdStatus(kind: LimitedKind): string {
  return `stopped-${kind === "delete" ? "deletion" : kind}-threshold-exceeded`;
}

function countOf(counts: KindCounts, kind: LimitedKind): number {
  return Object.entries(limitedAs).reduce(
    (sum, [one, as]) => sum + (as === kind ? (counts[one] ?? 0) : 0),
    0,
  );
}

/** The limit in words, when `count` is beyond it. */
function brokenLimit(
  { count: max, percent }: Limit,
  count: number,
  connected: number,
  percentFrom: number,
): string | null {
  if (max !== null && count > max) return `${max}`;
  if (percent !== null && connected >= Math.max(1, percentFrom) && count * 100 > connected * percent) {
    return `${percent} percent of ${connected} connected objects`;
  }
  return null;
}
