/** Comparing rules with the active ones: how a comparison is begun, and what it has found. */
import type { Configuration, ConfigurationFile } from "./core/configuration.ts";
import { compileRuleTexts } from "./core/readRules.ts";
import { syntaxesOf } from "./core/schema.ts";
import type { Engine } from "./engine.ts";
import { type ExportPlanItem, planItem } from "./exportPlan.ts";
import { isoTime } from "./runs/engine.ts";
import {
  comparedConnectors,
  counterOf,
  diffProfiles,
  type Effect,
  type EffectKind,
  effectKinds,
  hasWork,
} from "./runs/rulesDiff.ts";
import type { Counters } from "./stores/fence.ts";
import type { Run, Trigger } from "./stores/runs.ts";

/** One object that the changed rules treat in another way. */
export interface EffectItem {
  readonly connector: string;
  readonly id: string;
  readonly anchor: string | null;
  readonly dn: string;
  readonly newDn?: string;
  readonly metaverseId: string | null;
  readonly change: EffectKind;
  readonly reason: string;
  /** What would be exported. */
  readonly attributes: ExportPlanItem["attributes"];
}

export interface RulesDiff {
  readonly runId: string;
  readonly status: string;
  readonly rulesVersion: string;
  /** By connector and kind. */
  readonly counts: Readonly<Record<string, Readonly<Record<EffectKind, number>>>>;
  readonly items: readonly EffectItem[];
  readonly continuation?: string;
}

export function effectItem(
  { kind, before, after }: Effect,
  connector: string,
  { schemas }: Configuration,
): EffectItem {
  const object = (after ?? before)!;
  const pending = after?.escrow ?? after?.pendingExport ?? null;
  const planned =
    pending === null
      ? null
      : planItem(object, pending, syntaxesOf(schemas.get(connector) ?? [], object.objectType));
  return {
    connector,
    id: object.id,
    anchor: object.anchor,
    dn: object.dn,
    ...(planned?.newDn === undefined ? {} : { newDn: planned.newDn }),
    metaverseId: after?.metaverseId ?? before?.metaverseId ?? null,
    change: kind,
    reason: planned?.reason ?? reasons[kind] ?? "",
    attributes: planned?.attributes ?? [],
  };
}

const reasons: Readonly<Partial<Record<EffectKind, string>>> = {
  adopt: "It is joined, and is as the rules want it.",
  connect: "The rules connect it.",
  disconnect: "The rules let go of it; nothing changes in its directory.",
  withdraw: "What stands to be exported is taken back.",
};

export class RulesDiffs {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /**
   * Begins the run that compares these rules with the active ones.
   * @throws ConfigurationError when they do not check; RunInTheWay
   */
  async start(texts: readonly ConfigurationFile[], trigger: Trigger, startedBy?: string): Promise<Run> {
    const { configuration, protocol, diffs, options, parts } = this.#engine;
    const changed = compileRuleTexts(texts, configuration);
    await diffs.addRules({ version: changed.rulesVersion, texts }, isoTime(options.clock.now()));
    await this.#engine.rulesVersion(trigger, startedBy);
    const active = await this.#engine.rules.active();
    const connectors = comparedConnectors(configuration, active, changed);
    const sides = (await hasWork(parts, active, connectors))
      ? (["active", "changed"] as const)
      : (["changed"] as const);
    return protocol.start({
      cycle: null,
      steps: [
        ...sides.flatMap((side) =>
          connectors.map((connector) => ({
            connector,
            profile: diffProfiles[side],
            type: "rulesDiff" as const,
          })),
        ),
        ...connectors.map((connector) => ({
          connector,
          profile: diffProfiles.effects,
          type: "rulesEffects" as const,
        })),
      ],
      trigger,
      ...(startedBy === undefined ? {} : { startedBy }),
      rulesVersion: changed.rulesVersion,
    });
  }

  /** Null: that run has compared nothing. While it goes on, what it has found so far. */
  async found(
    runId: string,
    of: { readonly connector?: string; readonly kind?: string },
    limit: number,
    continuation?: string,
  ): Promise<RulesDiff | null> {
    const run = (await this.#engine.runs.get(runId))?.run;
    if (run === undefined) return null;
    const isComparison = run.steps.some(({ type }) => type === "rulesEffects");
    // A synchronisation of the rules connector compares before it decides.
    const counts = isComparison ? effectCounts(run) : countsBy(await this.#engine.diffs.counts(runId));
    if (counts === null) return null;
    const page = await this.#engine.diffs.effects(runId, of, limit, continuation);
    return {
      runId,
      status: run.status,
      rulesVersion: run.rulesVersion,
      counts,
      items: page.effects as readonly EffectItem[],
      ...(page.continuation === undefined ? {} : { continuation: page.continuation }),
    };
  }
}

/** How many objects of each connector the rules of a comparison would change, by kind. */
export function effectCounts(run: Run): RulesDiff["counts"] {
  const steps = run.steps.filter(({ type }) => type === "rulesEffects");
  return Object.fromEntries(
    steps.map(({ connector, statistics }) => [connector, countsOf(statistics)] as const),
  );
}

function countsBy(counts: Readonly<Record<string, Counters>> | null): RulesDiff["counts"] | null {
  if (counts === null) return null;
  const none = Object.fromEntries(effectKinds.map((kind) => [kind, 0])) as Record<EffectKind, number>;
  return Object.fromEntries(Object.entries(counts).map(([connector, of]) => [connector, { ...none, ...of }]));
}

function countsOf(statistics: Counters): Readonly<Record<EffectKind, number>> {
  return Object.fromEntries(effectKinds.map((kind) => [kind, statistics[counterOf(kind)] ?? 0])) as Readonly<
    Record<EffectKind, number>
  >;
}
