import { createHash } from "node:crypto";
import type { Configuration, Limit } from "../core/configuration.ts";
import { afterExport, type ExportKind, escrowed, exportDigest, exportKind } from "../core/exporting.ts";
import { shardOf, shards } from "../core/identity.ts";
import type { ConnectorSpaceObject, PendingExport } from "../core/model.ts";
import type { Connector, ExportChange } from "../ports/connector.ts";
import type { ObjectWrite, Stored } from "../stores/connectorSpace.ts";
import { addCounters, type Counters } from "../stores/fence.ts";
import type { PlanHead, PlanItem } from "../stores/plans.ts";
import type { RunError } from "../stores/runs.ts";
import { chunked } from "../stores/texts.ts";
import { type EngineParts, isoTime } from "./engine.ts";
import { runError } from "./importStep.ts";
import type { Slice, SliceOutcome, StepHandler } from "./protocol.ts";

interface Cursor {
  /** How many items of the frozen plan have been dealt with. */
  readonly done: number;
  readonly failures: number;
  /** Items that had changed since the plan was frozen. */
  readonly moved: number;
}

const dayMs = 24 * 60 * 60 * 1000;
const loadAtOnce = 200;

/** Adds first, then changes, deletes last; within a kind by id, so that the order repeats. */
const order: Readonly<Record<ExportKind, number>> = {
  add: 0,
  enable: 1,
  update: 1,
  rename: 1,
  disable: 1,
  delete: 2,
};

/** Exports: freezes a plan, checks it against the limits once, then sends exactly its items. */
export class ExportStep implements StepHandler {
  readonly #parts: EngineParts;

  constructor(parts: EngineParts) {
    this.#parts = parts;
  }

  async work(slice: Slice): Promise<SliceOutcome> {
    const { connector: name } = slice.step;
    const { plans, state } = this.#parts;
    if (this.#parts.stagingMode()) {
      return { kind: "done", status: "success", idle: true, detail: "Staging mode: nothing was exported." };
    }
    const configuration = await this.#parts.configuration(slice.run.rulesVersion);
    let cursor: Cursor = { done: 0, failures: 0, moved: 0 };
    if (slice.cursor === null) {
      if ((await state.get(name)).exportShards === "") return { kind: "done", status: "success", idle: true };
      const stop = await this.#freeze(slice, configuration);
      if (stop !== null) return stop;
      await slice.save(JSON.stringify(cursor));
    } else cursor = JSON.parse(slice.cursor) as Cursor;

    const connector = await this.#parts.connector(name);
    const items = await plans.items(name, slice.run.id);
    const left = items.slice(cursor.done);
    for (const chunk of chunked(left, () => 1, connector.capabilities.exportBatchMax)) {
      if (this.#parts.stagingMode()) {
        return {
          kind: "done",
          status: "success",
          detail: `Staging mode was switched on: ${items.length - cursor.done} changes were not exported.`,
        };
      }
      const { failures, moved, exported } = await this.#exportBatch(slice, connector, configuration, chunk);
      cursor = {
        done: cursor.done + chunk.length,
        failures: cursor.failures + failures,
        moved: cursor.moved + moved,
      };
      await this.#note(slice, (head) => ({ ...head, exported: addCounters(head.exported, exported) }));
      await slice.save(JSON.stringify(cursor));
      if (slice.overBudget() && cursor.done < items.length)
        return { kind: "continue", cursor: JSON.stringify(cursor) };
    }
    await this.#note(slice, (head) => ({
      ...head,
      state: "done",
      endedAt: isoTime(this.#parts.clock.now()),
    }));
    const detail =
      cursor.moved === 0
        ? {}
        : { detail: `${cursor.moved} changes had moved on since the plan was made and were left out.` };
    return { kind: "done", status: cursor.failures > 0 ? "completed-export-errors" : "success", ...detail };
  }

  async #note(slice: Slice, change: (head: PlanHead) => PlanHead): Promise<void> {
    const head = await this.#parts.plans.head(slice.step.connector, slice.run.id);
    if (head !== undefined) await this.#parts.plans.setHead(slice.step.connector, change(head));
  }

  /** The plan of this run, and whether the limits allow it; what ends the step if not. */
  async #freeze(slice: Slice, configuration: Configuration): Promise<SliceOutcome | null> {
    const { connector: name } = slice.step;
    const items = await pendingItems(this.#parts, name);
    const counts = addCounters(...items.map(({ kind }) => ({ [kind]: 1 })));
    const now = this.#parts.clock.now();
    const recent = await this.#parts.plans.exportedSince(name, isoTime(now - dayMs));
    const totals = await this.#parts.connectorSpace.totals(name);
    const exceeded = exceededLimit(
      configuration,
      name,
      addCounters(counts, recent),
      counts,
      totals.connectors ?? 0,
    );
    await this.#parts.plans.freeze(
      name,
      {
        runId: slice.run.id,
        hash: planHash(name, items),
        state: exceeded === null ? "running" : "held",
        createdAt: isoTime(now),
        items: items.length,
        counts,
        exported: {},
        endedAt: exceeded === null ? null : isoTime(now),
      },
      items,
    );
    if (exceeded === null) return null;
    return { kind: "done", status: exceeded.status, detail: exceeded.detail };
  }

  async #exportBatch(
    slice: Slice,
    connector: Connector,
    configuration: Configuration,
    items: readonly PlanItem[],
  ): Promise<{ readonly failures: number; readonly moved: number; readonly exported: Counters }> {
    const { connector: name } = slice.step;
    const { connectorSpace, clock } = this.#parts;
    const schemas = configuration.schemas.get(name) ?? [];
    const stored = await connectorSpace.getMany(
      name,
      items.map(({ id }) => id),
    );
    const chosen: { readonly before: Stored; readonly item: PlanItem; readonly outcomeUnknown: boolean }[] =
      [];
    let moved = 0;
    for (const item of items) {
      const before = stored.get(item.id);
      const { escrow = null, pendingExport = null } = before?.object ?? {};
      if (before === undefined || (escrow === null && pendingExport === null)) continue; // exported before a crash
      if (escrow !== null) chosen.push({ before, item, outcomeUnknown: true });
      else if (exportDigest(pendingExport!) === item.digest)
        chosen.push({ before, item, outcomeUnknown: false });
      else moved++;
    }
    if (chosen.length === 0) return { failures: 0, moved, exported: {} };

    await connectorSpace.write(
      slice.writer,
      chosen.map(({ before }) => ({ before, after: escrowed(before.object, slice.run.id) })),
    );
    const escrows = await connectorSpace.getMany(
      name,
      chosen.map(({ item }) => item.id),
    );
    // No write to a directory is begun that might still be under way when somebody else takes the lease over.
    await slice.lease.save({});
    const mayWrite = () => slice.mayWrite(connector.capabilities.exportTimeoutMs);
    const changes = chosen.map(({ item, outcomeUnknown }) =>
      toChange(escrows.get(item.id)!.object, outcomeUnknown),
    );
    const results = await connector.exportBatch(changes, {
      log: (message) => slice.log(message),
      mayWrite,
      signal: slice.signal,
    });

    const now = isoTime(clock.now());
    const writes: (ObjectWrite & { readonly counters: Counters })[] = [];
    const errors: { readonly object: string; readonly error: RunError }[] = [];
    const exported: Counters[] = [];
    for (const [index, { item }] of chosen.entries()) {
      const before = escrows.get(item.id)!;
      const outcome = afterExport(before.object, results[index]!, schemas, now);
      writes.push({ before, after: outcome.object, counters: { [outcome.counter]: 1 } });
      if (outcome.error === null) exported.push({ [item.kind]: 1 });
      else errors.push({ object: item.id, error: runError(outcome.error, outcome.object) });
    }
    await connectorSpace.write(slice.writer, writes);
    await slice.report(errors);
    return { failures: errors.length, moved, exported: addCounters(...exported) };
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
    const { state } = this.#parts;
    const stored = await state.read(connector);
    if (!(await isCurrent())) return;
    const exportShards = await markedShards(this.#parts, connector, "export", stored.state.exportShards);
    if (exportShards !== stored.state.exportShards)
      await state.replace(connector, stored, { ...stored.state, exportShards });
  }
}

/**
 * Those of the shards that have markers. To take the others off the dirty map: read the state, make sure that the
 * step is still the current one, look, and replace the state as it was read. Whoever writes such markers afterwards
 * has changed the state before.
 */
export async function markedShards(
  parts: EngineParts,
  connector: string,
  kind: "import" | "export",
  among: string,
): Promise<string> {
  let marked = "";
  for (const shard of among) {
    const first = await parts.connectorSpace.marked(connector, shard, kind).next();
    if (first.done !== true) marked += shard;
  }
  return marked;
}

/** All pending exports of a connector as plan items, in the order in which they are sent. */
export async function pendingItems(parts: EngineParts, connector: string): Promise<PlanItem[]> {
  const dirty = (await parts.state.get(connector)).exportShards;
  const items: PlanItem[] = [];
  for (const shard of shards.filter((one) => dirty.includes(one))) {
    const ids: string[] = [];
    for await (const { id } of parts.connectorSpace.marked(connector, shard, "export")) ids.push(id);
    for (const chunk of chunked(ids, () => 1, loadAtOnce)) {
      for (const { object } of (await parts.connectorSpace.getMany(connector, chunk)).values()) {
        const pending: PendingExport | null = object.escrow ?? object.pendingExport;
        if (pending !== null)
          items.push({ id: object.id, kind: exportKind(pending), digest: exportDigest(pending) });
      }
    }
  }
  return items.sort((a, b) => order[a.kind] - order[b.kind] || (a.id < b.id ? -1 : 1));
}

export function planHash(connector: string, items: readonly PlanItem[]): string {
  return createHash("sha256")
    .update(JSON.stringify([connector, items]))
    .digest("hex");
}

/** The kind whose limit the plan and what was exported in the last 24 hours would break; null when none. */
function exceededLimit(
  configuration: Configuration,
  connector: string,
  counts: Counters,
  planned: Counters,
  connected: number,
): { readonly status: string; readonly detail: string } | null {
  const { limits } = configuration.connectors.get(connector)!;
  for (const kind of ["delete", "disable", "add", "update", "rename"] as const) {
    const count = counts[kind] ?? 0;
    if ((planned[kind] ?? 0) === 0 || (kind === "add" && connected === 0)) continue;
    const broken = brokenLimit(limits.export[kind], count, connected, limits.percentFrom);
    if (broken === null) continue;
    const status =
      kind === "delete" ? "stopped-deletion-threshold-exceeded" : `stopped-${kind}-threshold-exceeded`;
    const detail = `${planned[kind]} pending exports of kind ${kind} (${count} with those of the last 24 hours) exceed the limit of ${broken}. Nothing was exported to ${connector}; it is held until somebody decides.`;
    return { status, detail };
  }
  return null;
}

function brokenLimit(
  { count: max, percent }: Limit,
  count: number,
  connected: number,
  percentFrom: number,
): string | null {
  if (max !== null && count > max) return `${max}`;
  if (percent !== null && connected >= percentFrom && count * 100 > connected * percent) {
    return `${percent} percent of ${connected} connected objects`;
  }
  return null;
}

function toChange(object: ConnectorSpaceObject, outcomeUnknown: boolean): ExportChange {
  const sent = object.escrow!;
  return {
    id: object.id,
    objectType: object.objectType,
    change: sent.change,
    anchor: object.anchor,
    dn: object.dn,
    ...(sent.newDn === undefined ? {} : { newDn: sent.newDn }),
    attributes: sent.attributes,
    outcomeUnknown,
  };
}

/** The shards in which objects have something to export. */
export function exportShards(objects: readonly ConnectorSpaceObject[]): string[] {
  return objects.filter(({ pendingExport }) => pendingExport !== null).map(({ id }) => shardOf(id));
}
