/**
 * What a set of rules would do to everybody, worked out before it is activated: the comparison of `rulesDiff.ts`, but
 * within the one step that decides about the set, so one worker does its shards one after the other.
 */
import type { Configuration, ConfigurationFile } from "../core/configuration.ts";
import { limitsBeyondWhich } from "../core/limits.ts";
import { addCounters, type Counters } from "../stores/fence.ts";
import type { RulesEffect } from "../stores/rules.ts";
import { isoTime } from "./engine.ts";
import type { Slice } from "./protocol.ts";
import {
  comparedConnectors,
  counterOf,
  type DiffParts,
  DiffSyncStep,
  diffProfiles,
  EffectsStep,
  effectKinds,
  forgetSides,
  hasWork,
} from "./rulesDiff.ts";

/** What is known of a set that was tried out. */
export interface Tried {
  /** The hash of the set that was active then. */
  readonly against: string;
  /** Why somebody has to approve it for what it would do: each a sentence. */
  readonly reasons: readonly string[];
  /** Null: there was nobody to look at. */
  readonly effect: RulesEffect | null;
}

export interface TrialCursor {
  readonly against: string;
  /** The version that is tried. */
  readonly version: string;
  /** What is left to do, the first of them under way. */
  readonly phases: readonly { readonly profile: string; readonly connector: string }[];
  /** Of that phase: shards left, the first of them under way. */
  readonly shards: readonly string[];
  readonly inner: string | null;
  /** False: there is nobody to look at. */
  readonly anybody: boolean;
  /** Effects so far, by connector. */
  readonly counts: Readonly<Record<string, Counters>>;
}

export interface TrialParts extends DiffParts {
  /** Of the deployment, with whatever rules. */
  readonly deployment: Configuration;
  /** The active rules; null when they do not check with this deployment: nothing can be synchronised with them. */
  active(): Promise<Configuration | null>;
}

const firstShard = "main";

export class RulesTrial {
  readonly #trial: TrialParts;
  readonly #sync: DiffSyncStep;
  readonly #effects: EffectsStep;

  constructor(trial: TrialParts) {
    this.#trial = trial;
    this.#sync = new DiffSyncStep(trial);
    this.#effects = new EffectsStep(trial);
  }

  /** @throws ConnectorError when a directory cannot be asked for its schema */
  async begin(against: string, version: string, texts: readonly ConfigurationFile[]): Promise<TrialCursor> {
    const { diffs, parts, deployment, tried, active } = this.#trial;
    const anybody = await this.#isAnybodyThere();
    const cursor = { against, version, phases: [], shards: [firstShard], inner: null, anybody, counts: {} };
    if (!anybody) return cursor;
    await diffs.addRules({ version, texts }, isoTime(parts.clock.now()));
    const [changed, before] = [await tried(version), await active()];
    const connectors = comparedConnectors(deployment, changed, ...(before === null ? [] : [before]));
    const profiles =
      before !== null && (await hasWork(parts, before, connectors))
        ? [diffProfiles.active, diffProfiles.changed, diffProfiles.effects]
        : [diffProfiles.changed, diffProfiles.effects];
    const phases = profiles.flatMap((profile) => connectors.map((connector) => ({ profile, connector })));
    return { ...cursor, phases };
  }

  async #isAnybodyThere(): Promise<boolean> {
    const { parts, deployment } = this.#trial;
    const others = [...deployment.connectors.values()].filter(({ kind }) => kind !== "rules");
    const totals = await Promise.all(others.map(({ name }) => parts.connectorSpace.totals(name)));
    return totals.some(({ objects = 0 }) => objects > 0);
  }

  /** @returns where it stands when the time slice is over, or what was found */
  async work(slice: Slice, from: TrialCursor): Promise<TrialCursor | Tried> {
    const { diffs, parts, deployment } = this.#trial;
    let cursor = from;
    const move = async (next: Partial<TrialCursor>): Promise<void> => {
      cursor = { ...cursor, ...next };
      await slice.save(JSON.stringify(cursor));
    };
    for (;;) {
      const [phase, ...phases] = cursor.phases;
      if (phase === undefined) break;
      const { profile, connector } = phase;
      const [shard, ...shards] = cursor.shards;
      const run = { ...slice.run, rulesVersion: cursor.version };
      const step = { ...slice.step, connector, profile, type: "rulesDiff" as const };
      if (shard === undefined) {
        if (profile !== diffProfiles.effects) await this.#sync.finish(run, step, () => isOurs(slice));
        await move({ phases, shards: [firstShard] });
        continue;
      }
      const part: Slice = {
        ...slice,
        run,
        step,
        shard,
        cursor: cursor.inner,
        save: (inner, counted = {}) =>
          move({ inner, counts: withCounts(cursor.counts, connector, counted, profile) }),
        report: async () => undefined, // what fails with them is told when they are active
      };
      const outcome = await (profile === diffProfiles.effects
        ? this.#effects.find(part)
        : this.#sync.work(part));
      if (outcome.kind === "continue") return { ...cursor, inner: outcome.cursor };
      const { nextShards = [], lastShard } = outcome;
      const more = lastShard === undefined ? nextShards : [...nextShards, lastShard];
      await move({ shards: [...shards, ...more], inner: null });
      if (slice.overBudget()) return cursor;
    }
    const { against, anybody, counts } = cursor;
    if (anybody) await diffs.setCounts(slice.run.id, counts);
    if (!(await forgetSides(diffs, slice.run.id, slice.overBudget))) return cursor;
    const reasons = await Promise.all(
      Object.entries(counts).map(async ([connector, of]) => {
        const totals = await parts.connectorSpace.totals(connector);
        const connected = Math.max(0, (totals.connectors ?? 0) - (totals["export.add"] ?? 0));
        return limitsBeyondWhich(connector, deployment.connectors.get(connector)!.limits, of, connected);
      }),
    );
    return { against, reasons: reasons.flat(), effect: anybody ? { runId: slice.run.id, counts } : null };
  }
}

/** Only while the lease is ours: two may have come to the end of a phase. @throws LeaseLost */
async function isOurs({ lease }: Slice): Promise<boolean> {
  await lease.verify();
  return true;
}

function withCounts(
  counts: TrialCursor["counts"],
  connector: string,
  counted: Counters,
  profile: string,
): TrialCursor["counts"] {
  if (profile !== diffProfiles.effects) return counts;
  const kinds = Object.fromEntries(effectKinds.map((kind) => [kind, counted[counterOf(kind)] ?? 0]));
  const sum = addCounters(counts[connector] ?? {}, kinds);
  return Object.keys(sum).length === 0 ? counts : { ...counts, [connector]: sum };
}
