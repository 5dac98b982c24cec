/** Comparing rules with the active ones: how a comparison is begun, and what it has found. */
import type { Configuration, ConfigurationFile } from "./core/configuration.ts";
import { compileRuleTexts } from "./core/readConfiguration.ts";
import { synchronizationKey } from "./core/ruleVersions.ts";
import { syntaxesOf } from "./core/schema.ts";
import type { Engine } from "./engine.ts";
import { type ExportPlanItem, planItem } from "./exportPlan.ts";
import { isoTime } from "./runs/engine.ts";
import { counterOf, diffProfiles, type Effect, type EffectKind, effectKinds } from "./runs/rulesDiff.ts";
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
    const { configuration, protocol, diffs, options } = this.#engine;
    const changed = compileRuleTexts(texts, configuration);
    await diffs.addRules({ version: changed.rulesVersion, texts }, isoTime(options.clock.now()));
    await this.#engine.rulesVersion(trigger, startedBy);
    const active = await this.#engine.rules.active();
    const connectors = this.#connectors(active, changed);
    const sides = (await this.#hasWork(active, connectors))
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

  /** Those that any rule speaks of, in the order in which the initial cycle synchronises them. */
  #connectors(active: Configuration, changed: Configuration): readonly string[] {
    const { configuration } = this.#engine;
    const named = new Set([...active.rules.rules, ...changed.rules.rules].map(({ connector }) => connector));
    const inCycle = (configuration.cycles.get("initial")?.steps ?? [])
      .filter(({ type }) => type === "fullSync")
      .map(({ connector }) => connector);
    return [...new Set([...inCycle, ...configuration.connectors.keys()])].filter((name) => named.has(name));
  }

  /** Whether the active rules would change anything by themselves; that is no effect of the changed ones. */
  async #hasWork(active: Configuration, connectors: readonly string[]): Promise<boolean> {
    const { state, options } = this.#engine;
    const now = isoTime(options.clock.now());
    const all = await Promise.all(
      connectors.map(async (connector) => {
        const { importShards, synchronizedRules, nextDue } = await state.get(connector);
        const isDue = nextDue !== null && nextDue <= now;
        return importShards !== "" || synchronizedRules !== synchronizationKey(active, connector) || isDue;
      }),
    );
    return all.includes(true);
  }

  /** Null: there is no such comparison. While it goes on, what it has found so far. */
  async found(
    runId: string,
    of: { readonly connector?: string; readonly kind?: string },
    limit: number,
    continuation?: string,
  ): Promise<RulesDiff | null> {
    const run = (await this.#engine.runs.get(runId))?.run;
    if (run === undefined || !run.steps.some(({ type }) => type === "rulesEffects")) return null;
    const page = await this.#engine.diffs.effects(runId, of, limit, continuation);
    return {
      runId,
      status: run.status,
      rulesVersion: run.rulesVersion,
      counts: effectCounts(run),
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

function countsOf(statistics: Counters): Readonly<Record<EffectKind, number>> {
  return Object.fromEntries(effectKinds.map((kind) => [kind, statistics[counterOf(kind)] ?? 0])) as Readonly<
    Record<EffectKind, number>
  >;
}
