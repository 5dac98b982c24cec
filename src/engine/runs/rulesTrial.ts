/**
 * What a set of rules would do to everybody, worked out before it is activated: the comparison of `rulesDiff.ts`, but
 * within the one step that decides about the set, so one worker does all shards.
 */
import pMap from "p-map";
import type { Configuration, ConfigurationFile } from "../core/configuration.ts";
import { limitsBeyondWhich } from "../core/limits.ts";
import { addCounters, type Counters } from "../stores/fence.ts";
import type { RulesEffect } from "../stores/rules.ts";
import { isoTime } from "./engine.ts";
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
import type { Slice } from "./stepHandler.ts";

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
  /** Of that phase: shards that can be worked on now, and the one that begins when they are done. */
  readonly shards: readonly string[];
  readonly last: string | null;
  /** Where each of those shards stands that has begun. */
  readonly inner: Readonly<Record<string, string>>;
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
const shardsAtOnce = 6;
const phaseStart = { shards: [firstShard], last: null, inner: {} };

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
    const cursor: TrialCursor = { against, version, phases: [], ...phaseStart, anybody, counts: {} };
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
      const run = { ...slice.run, rulesVersion: cursor.version };
      const step = { ...slice.step, connector, profile, type: "rulesDiff" as const };
      if (cursor.shards.length === 0 && cursor.last === null) {
        if (profile !== diffProfiles.effects) await this.#sync.finish(run, step, () => isOurs(slice));
        await move({ phases, ...phaseStart });
        continue;
      }
      if (cursor.shards.length === 0) await move({ shards: [cursor.last!], last: null });
      const failures: unknown[] = [];
      const workOn = async (shard: string): Promise<void> => {
        const part: Slice = {
          ...slice,
          run,
          step,
          shard,
          cursor: cursor.inner[shard] ?? null,
          save: (at, counted = {}) =>
            move({
              inner: { ...cursor.inner, [shard]: at },
              counts: withCounts(cursor.counts, connector, counted, profile),
            }),
          overBudget: () => failures.length > 0 || slice.overBudget(),
          report: async () => undefined, // what fails with them is told when they are active
        };
        const isSync = profile !== diffProfiles.effects;
        const outcome = await (isSync ? this.#sync.work(part) : this.#effects.find(part));
        if (outcome.kind === "continue") {
          await move({ inner: { ...cursor.inner, [shard]: outcome.cursor } });
          return;
        }
        const left = cursor.shards.filter((one) => one !== shard);
        const { [shard]: _, ...inner } = cursor.inner;
        const { nextShards = [], lastShard = cursor.last } = outcome;
        await move({ shards: [...left, ...nextShards], last: lastShard, inner });
      };
      // All of them have come to rest before the first failure is told: whoever goes on then works alone.
      const guarded = (shard: string) => workOn(shard).catch((error) => void failures.push(error));
      await pMap(cursor.shards, guarded, { concurrency: shardsAtOnce });
      if (failures.length > 0) throw failures[0];
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
