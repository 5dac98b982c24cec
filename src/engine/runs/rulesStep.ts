import pMap from "p-map";
import type { ConfigurationFile, ConfigurationProblem } from "../core/configuration.ts";
import { describeProblem } from "../core/configuration.ts";
import { shards } from "../core/identity.ts";
import { type ConnectorSpaceObject, importedImage } from "../core/model.ts";
import { textOf } from "../core/ruleDocuments.ts";
import { synchronizationError } from "../core/synchronize.ts";
import type { Doer, RulesDecision, RuleVersions } from "../ruleVersions.ts";
import type { ObjectWrite } from "../stores/connectorSpace.ts";
import type { Stored } from "../stores/connectorSpaceRows.ts";
import type { Counters } from "../stores/fence.ts";
import type { RulesEffect } from "../stores/rules.ts";
import { type EngineParts, isoTime } from "./engine.ts";
import { keepMarked } from "./markedShards.ts";
import type { RulesTrial, TrialCursor } from "./rulesTrial.ts";
import { runError } from "./runErrors.ts";
import type { Slice, SliceOutcome, StepHandler } from "./stepHandler.ts";

/**
 * Synchronisation of the rules connector: the imported rules, all of them, are checked and activated as a version, or
 * refused, or set aside for approval. Then the rules of an active set are as they were imported; those of another
 * stay pending, those that are wrong with their error.
 */
export class RulesStep implements StepHandler {
  readonly #parts: EngineParts;
  readonly #versions: RuleVersions;
  readonly #trial: RulesTrial;

  constructor(parts: EngineParts, versions: RuleVersions, trial: RulesTrial) {
    this.#parts = parts;
    this.#versions = versions;
    this.#trial = trial;
  }

  async work(slice: Slice): Promise<SliceOutcome> {
    const { connector } = slice.step;
    const stored = await this.#objects(connector);
    const texts = stored
      .flatMap(({ object }) => importedImage(object) ?? [])
      .map(textOf)
      .sort((a, b) => (a.file < b.file ? -1 : 1));
    const by = slice.run.startedBy ?? slice.run.trigger;
    const why = "The files of the configuration have changed.";
    const decision = await this.#decide(slice, texts, { by, why });
    switch (decision.kind) {
      case "continue":
        return decision;
      case "overtaken": {
        const detail = `Version ${decision.version} of the rules was activated by hand meanwhile; it stands.`;
        return { kind: "done", status: "completed-warnings", detail };
      }
      case "active":
      case "activated": {
        const writes = stored.filter(({ object }) => isOpen(object)).map(settled);
        await this.#parts.connectorSpace.write(slice.writer, writes);
        if (decision.kind === "active") return { kind: "done", status: "success" };
        const { version, effect } = decision.version;
        const detail = `Version ${version} of the rules is active.${describeEffect(effect)}`;
        return { kind: "done", status: "success", detail };
      }
      case "waiting": {
        const { version, reasons, effect } = decision.version;
        const detail = `Version ${version} of the rules waits for approval; the active one stays. ${reasons.join(" ")}${describeEffect(effect)} Approve it with: vestibule rules activate ${version} --why "…"`;
        return { kind: "done", status: "stopped-approval-required", detail };
      }
      case "refused":
        return this.#refuse(slice, stored, decision.problems);
    }
  }

  /** Tries the set out before it is decided about, where it is another one; that may take several time slices. */
  async #decide(
    slice: Slice,
    texts: readonly ConfigurationFile[],
    doer: Doer,
  ): Promise<Exclude<RulesDecision, { kind: "try" }> | Extract<SliceOutcome, { kind: "continue" }>> {
    let cursor: TrialCursor | null = slice.cursor === null ? null : JSON.parse(slice.cursor);
    for (;;) {
      const tried = cursor === null ? null : await this.#trial.work(slice, cursor);
      if (tried !== null && "phases" in tried) return { kind: "continue", cursor: JSON.stringify(tried) };
      const decision = await this.#versions.decide(texts, doer, tried);
      if (decision.kind !== "try") return decision;
      cursor = await this.#trial.begin(decision.against, decision.version, texts);
      await slice.save(JSON.stringify(cursor));
    }
  }

  async #refuse(
    slice: Slice,
    stored: readonly Stored[],
    problems: readonly ConfigurationProblem[],
  ): Promise<SliceOutcome> {
    const now = isoTime(this.#parts.clock.now());
    const byFile = Map.groupBy(problems, ({ file }) => file);
    const writes = stored.flatMap((before): (ObjectWrite & { readonly counters: Counters })[] => {
      const { object } = before;
      const image = importedImage(object);
      const own = image === null ? [] : (byFile.get(textOf(image).file) ?? []);
      if (own.length === 0)
        return object.error === null ? [] : [{ before, after: { ...object, error: null }, counters: {} }];
      const failure = {
        code: own[0]!.code ?? "rule-error",
        message: own.map(describeProblem).join("\n"),
        rule: object.anchor ?? object.dn,
      };
      const error = synchronizationError(object, failure, now);
      return [{ before, after: { ...object, error }, counters: { flowFailure: 1 } }];
    });
    await this.#parts.connectorSpace.write(slice.writer, writes);
    await slice.report(
      writes.flatMap(({ after }) =>
        after?.error == null ? [] : [{ object: after.id, error: runError(after.error, after) }],
      ),
    );
    const files = new Set(
      stored.flatMap(({ object }) => importedImage(object) ?? []).map((image) => textOf(image).file),
    );
    const ofNone = problems.filter(({ file }) => !files.has(file)).map(describeProblem);
    const detail = ["The rules do not check: the active version stays, whole.", ...ofNone].join(" ");
    return { kind: "done", status: "completed-sync-errors", detail };
  }

  async #objects(connector: string): Promise<Stored[]> {
    const all = await pMap(shards, async (shard) => {
      const found: Stored[] = [];
      for await (const stored of this.#parts.connectorSpace.range(connector, shard)) found.push(stored);
      return found;
    });
    return all.flat();
  }

  async counted(
    run: { readonly id: string },
    step: { readonly connector: string; readonly number: number },
  ): Promise<Counters> {
    return this.#parts.connectorSpace.counted(step.connector, { runId: run.id, step: step.number - 1 });
  }

  async finish(
    _run: unknown,
    { connector }: { readonly connector: string },
    isCurrent: () => Promise<boolean>,
  ): Promise<void> {
    await keepMarked(this.#parts, connector, "import", isCurrent);
  }
}

/** In numbers, by connector; with a blank in front. */
function describeEffect(effect: RulesEffect | null): string {
  if (effect === null) return "";
  const parts = Object.entries(effect.counts).map(([connector, counts]) => {
    const kinds = Object.entries(counts).map(([kind, count]) => `${count} ${kind}`);
    return `${connector} ${kinds.join(", ")}`;
  });
  return parts.length === 0 ? " It changes nobody." : ` Effect: ${parts.join("; ")}.`;
}

function isOpen({ pendingImport, error }: ConnectorSpaceObject): boolean {
  return pendingImport !== null || error !== null;
}

/** As MIM counts the rules that its service's connector brings: into the metaverse, changed there, out of it. */
function settled(before: Stored): ObjectWrite & { readonly counters: Counters } {
  const { object } = before;
  const image = importedImage(object);
  if (image === null) return { before, after: null, counters: { connectorDeleteRemoveMv: 1 } };
  const after = { ...object, synchronized: image, pendingImport: null, error: null };
  if (object.pendingImport === null) return { before, after, counters: {} };
  const counter = object.synchronized === null ? "disconnectorProjectedFlow" : "connectorFlow";
  return { before, after, counters: { [counter]: 1 } };
}
