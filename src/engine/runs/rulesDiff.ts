/**
 * What changed rules would do to everybody: a full synchronisation of every connector with them, over tables that
 * show the real ones and keep what is written apart; then what they lead to is compared with what the active rules do.
 *
 *   for each connector   a full synchronisation with the active rules    only when imports or times are pending
 *   for each connector   a full synchronisation with the changed rules
 *   for each connector   its effects: objects whose link or pending export differ between the two
 *
 * It is a run like any other: it works in time slices, may die anywhere, and what it needs does not grow with the
 * population. The steps are those of the engine, so the effects are those that the rules will have.
 */
import type { Configuration } from "../core/configuration.ts";
import { exportDigest, exportKind } from "../core/exporting.ts";
import { shards } from "../core/identity.ts";
import type { ConnectorSpaceObject, PendingExport } from "../core/model.ts";
import { synchronizationKey } from "../core/ruleVersions.ts";
import { ConnectorError } from "../ports/connector.ts";
import type { Tables } from "../ports/tables.ts";
import { partitionOf } from "../stores/connectorSpaceRows.ts";
import type { DiffStore, Side } from "../stores/diffs.ts";
import { addCounters, type Counters, FencedWriter } from "../stores/fence.ts";
import type { StepRecord } from "../stores/runs.ts";
import { type EngineParts, isoTime } from "./engine.ts";
import type { Slice, SliceOutcome, StepHandler } from "./stepHandler.ts";
import { SyncStep } from "./syncStep.ts";

/** How the steps of a comparison are called in the run history. */
export const diffProfiles = {
  active: "Full Synchronization (active rules)",
  changed: "Full Synchronization (changed rules)",
  effects: "Effects",
} as const;

export const effectKinds = [
  "add",
  "adopt",
  "update",
  "rename",
  "enable",
  "disable",
  "delete",
  "connect",
  "disconnect",
  "withdraw",
] as const;
/**
 * What the changed rules do to one object that the active ones would not: the kinds of an export plan, and `connect`
 * and `disconnect` of an object without a change in its directory, `withdraw` of a change that was to be exported.
 */
export type EffectKind = (typeof effectKinds)[number];

export interface Effect {
  readonly kind: EffectKind;
  /** The object under the active rules; null: there is none. */
  readonly before: ConnectorSpaceObject | null;
  /** The object under the changed rules; null: there is none. */
  readonly after: ConnectorSpaceObject | null;
}

/** The connectors that any rule speaks of, in the order in which the initial cycle synchronises them. */
export function comparedConnectors(
  { connectors, cycles }: Configuration,
  ...compared: readonly Configuration[]
): readonly string[] {
  const named = new Set(compared.flatMap(({ rules }) => rules.rules.map(({ connector }) => connector)));
  const inCycle = (cycles.get("initial")?.steps ?? [])
    .filter(({ type }) => type === "fullSync")
    .map(({ connector }) => connector);
  return [...new Set([...inCycle, ...connectors.keys()])].filter((name) => named.has(name));
}

/** Whether the active rules would change anything by themselves; that is no effect of the changed ones. */
export async function hasWork(
  { state, clock }: Pick<EngineParts, "state" | "clock">,
  active: Configuration,
  connectors: readonly string[],
): Promise<boolean> {
  const now = isoTime(clock.now());
  const all = await Promise.all(
    connectors.map(async (connector) => {
      const { importShards, synchronizedRules, nextDue } = await state.get(connector);
      const isDue = nextDue !== null && nextDue <= now;
      return importShards !== "" || synchronizedRules !== synchronizationKey(active, connector) || isDue;
    }),
  );
  return all.includes(true);
}

export interface DiffParts {
  readonly parts: EngineParts;
  readonly diffs: DiffStore;
  /** The engine over other tables, with rules that are only tried out. */
  partsOver(tables: Tables): EngineParts;
  activeVersion(): Promise<string>;
  /** @throws ConnectorError when the rules are no longer stored */
  tried(version: string): Promise<Configuration>;
  /** How an effect is kept and shown. */
  toItem(effect: Effect, connector: string, configuration: Configuration): object;
}

/** The full synchronisations of a comparison. */
export class DiffSyncStep implements StepHandler {
  readonly #diff: DiffParts;

  constructor(diff: DiffParts) {
    this.#diff = diff;
  }

  async work(slice: Slice): Promise<SliceOutcome> {
    const { run, step } = slice;
    const { sync, side, tables, rulesVersion } = await this.#over(run, step);
    return sync.work({
      ...slice,
      run: { ...run, rulesVersion },
      step: { ...step, type: "fullSync" },
      writer: new FencedWriter(tables, slice.lease),
      // What the active rules fail at they fail at without us.
      report: side === "active" ? async () => undefined : (errors) => slice.report(errors),
    });
  }

  async counted(
    run: { readonly id: string; readonly rulesVersion: string },
    step: StepRecord,
  ): Promise<Counters> {
    return (await this.#over(run, step)).sync.counted(run, step);
  }

  async finish(
    run: { readonly id: string; readonly rulesVersion: string },
    step: StepRecord,
    isCurrent: () => Promise<boolean>,
  ): Promise<void> {
    const { sync, rulesVersion } = await this.#over(run, step);
    await sync.finish({ rulesVersion }, step, isCurrent);
  }

  async #over(
    run: { readonly id: string; readonly rulesVersion: string },
    step: Pick<StepRecord, "profile">,
  ) {
    const { diffs, partsOver, activeVersion, tried } = this.#diff;
    const active = await diffs.settleActive(run.id, activeVersion);
    const side: Side = step.profile === diffProfiles.active ? "active" : "changed";
    const tables = diffs.tablesOf(run.id, side);
    const sync = new SyncStep({
      ...partsOver(tables),
      ...(side === "active"
        ? {}
        : {
            configuration: tried,
            synchronizationKey: async (version, connector) =>
              synchronizationKey(await tried(version), connector),
          }),
    });
    return { sync, side, tables, rulesVersion: side === "active" ? active : run.rulesVersion };
  }
}

interface Cursor {
  readonly shard: string;
  /** Ids below have been compared. */
  readonly from: string;
}

/** After all shards. */
const nothingLeft: Cursor = { shard: "g", from: "" };
const batchSize = 200;

type EffectsSlice = Pick<Slice, "cursor" | "save" | "overBudget"> & {
  readonly run: Pick<Slice["run"], "id" | "rulesVersion">;
  readonly step: Pick<Slice["step"], "connector">;
};

/** Forgets what both sides have worked out. @returns whether all of it is gone */
export async function forgetSides(diffs: DiffStore, runId: string, isOver: () => boolean): Promise<boolean> {
  return (await diffs.forget(runId, "active", isOver)) && (await diffs.forget(runId, "changed", isOver));
}

/** Finds the effects in one connector; the last step of a run then forgets what the others have worked out. */
export class EffectsStep implements StepHandler {
  readonly #diff: DiffParts;

  constructor(diff: DiffParts) {
    this.#diff = diff;
  }

  async work(slice: Slice): Promise<SliceOutcome> {
    const { run, step } = slice;
    const outcome = await this.find(slice);
    if (outcome.kind === "continue" || step.number < run.steps.length) return outcome;
    const isForgotten = await forgetSides(this.#diff.diffs, run.id, slice.overBudget);
    return isForgotten ? outcome : { kind: "continue", cursor: JSON.stringify(nothingLeft) };
  }

  /** The effects in the connector of the step; their counts go with `save`. */
  async find(slice: EffectsSlice): Promise<SliceOutcome> {
    const { run, step } = slice;
    const { diffs, partsOver, tried, toItem } = this.#diff;
    const configuration = await tried(run.rulesVersion);
    const active = partsOver(diffs.tablesOf(run.id, "active")).connectorSpace;
    const changed = partsOver(diffs.tablesOf(run.id, "changed")).connectorSpace;
    let cursor: Cursor = slice.cursor === null ? { shard: shards[0]!, from: "" } : JSON.parse(slice.cursor);
    for (const shard of shards.filter((one) => one >= cursor.shard)) {
      const partition = partitionOf(step.connector, shard);
      for (;;) {
        const from = shard === cursor.shard ? cursor.from : "";
        const ids = await this.#touched(run.id, partition, from);
        if (ids.length === 0) break;
        const [before, after] = await Promise.all([
          active.getMany(step.connector, ids),
          changed.getMany(step.connector, ids),
        ]);
        const effects = ids.flatMap((id) => {
          const effect = effectOf(
            before.get(id)?.object ?? null,
            after.get(id)?.object ?? null,
            configuration.rules.rules.some(
              ({ direction, connector }) => direction === "outbound" && connector === step.connector,
            ),
          );
          return effect === null ? [] : [{ id, effect }];
        });
        await diffs.addEffects(
          run.id,
          effects.map(({ id, effect }) => ({
            connector: step.connector,
            kind: effect.kind,
            id,
            effect: toItem(effect, step.connector, configuration),
          })),
        );
        cursor = { shard, from: `${ids.at(-1)}!` };
        const counted = addCounters(...effects.map(({ effect }) => ({ [counterOf(effect.kind)]: 1 })));
        await slice.save(JSON.stringify(cursor), counted);
        if (slice.overBudget()) return { kind: "continue", cursor: JSON.stringify(cursor) };
      }
    }
    return { kind: "done", status: "success" };
  }

  /** The next ids, in order, that either side has touched. */
  async #touched(runId: string, partition: string, from: string): Promise<string[]> {
    const first = async (side: Side) => {
      const ids: string[] = [];
      for await (const id of this.#diff.diffs.touched(runId, side, partition, from)) {
        ids.push(id);
        if (ids.length === batchSize) break;
      }
      return ids;
    };
    const ids = await Promise.all([first("active"), first("changed")]);
    return [...new Set(ids.flat())].sort().slice(0, batchSize);
  }

  /** They stand in the checkpoint. */
  async counted(): Promise<Counters> {
    return {};
  }
}

/** `effectDisable` and its like, by which the run history counts. */
export function counterOf(kind: EffectKind): string {
  return `effect${kind.charAt(0).toUpperCase()}${kind.slice(1)}`;
}

/** @param isTarget whether rules flow into the connector: an object that is joined there is adopted */
export function effectOf(
  before: ConnectorSpaceObject | null,
  after: ConnectorSpaceObject | null,
  isTarget: boolean,
): Effect | null {
  const kind = kindOf(before, after, isTarget);
  return kind === null ? null : { kind, before, after };
}

function kindOf(
  before: ConnectorSpaceObject | null,
  after: ConnectorSpaceObject | null,
  isTarget: boolean,
): EffectKind | null {
  const was = pendingOf(before);
  const will = pendingOf(after);
  const wanted = after === null || will === null ? null : exportKind(after, will);
  const isNewlyLinked = before !== null && before.metaverseId === null && after?.metaverseId != null;
  if (isNewlyLinked) return wanted === "disable" ? wanted : isTarget ? "adopt" : "connect";
  if (will !== null) return was !== null && exportDigest(was) === exportDigest(will) ? null : wanted;
  if (before?.metaverseId != null && after !== null && after.metaverseId === null) return "disconnect";
  return was === null ? null : "withdraw";
}

function pendingOf(object: ConnectorSpaceObject | null): PendingExport | null {
  return object?.escrow ?? object?.pendingExport ?? null;
}

/** For the engine: the tried rules of a run are gone with the run history. */
export function noLongerStored(version: string): ConnectorError {
  return new ConnectorError(
    "configuration",
    `The rules ${version} of this comparison are no longer stored. Compare them again.`,
  );
}
