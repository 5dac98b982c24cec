import type { Configuration } from "../core/configuration.ts";
import { afterExport, escrowed, exportDigest } from "../core/exporting.ts";
import type { PlanItem } from "../core/exportOrder.ts";
import { exportHistory } from "../core/history.ts";
import { importedId, shardOf } from "../core/identity.ts";
import { exceededExportLimit } from "../core/limits.ts";
import { type ConnectorSpaceObject, importedImage } from "../core/model.ts";
import { syntaxesOf } from "../core/schema.ts";
import type { Connector, ExportChange, ExportResult, ObjectTypeSchema } from "../ports/connector.ts";
import type { ObjectWrite } from "../stores/connectorSpace.ts";
import type { Stored } from "../stores/connectorSpaceRows.ts";
import type { ExportHold } from "../stores/connectorState.ts";
import { addCounters, type Counters } from "../stores/fence.ts";
import type { Hold } from "../stores/holds.ts";
import type { HistoryWrite } from "../stores/objectHistory.ts";
import type { PlanHead } from "../stores/plans.ts";
import type { Approval, Run, RunError, StepRecord } from "../stores/runs.ts";
import { chunked } from "../stores/texts.ts";
import { type EngineParts, historyOrder, isoTime } from "./engine.ts";
import { keepMarked } from "./markedShards.ts";
import {
  approvalLifeMs,
  countsOf,
  offerPlan,
  type PendingExports,
  pendingExports,
  planHash,
} from "./pendingExports.ts";
import { runError } from "./runErrors.ts";
import {
  type DoneOutcome,
  type Slice,
  type SliceOutcome,
  type StepHandler,
  StepStopped,
  stepKey,
} from "./stepHandler.ts";

interface Cursor {
  /** How many items of the frozen plan have been dealt with. */
  readonly done: number;
  readonly failures: number;
  /** Items that were left out: they had changed since the plan was made. */
  readonly moved: number;
  /** Pending changes that are not part of the plan, because they were refused before. */
  readonly resting: number;
  /** Pending changes of people who are on hold. */
  readonly onHold: number;
}

const dayMs = 24 * 60 * 60 * 1000;
const planLifeMs = 30 * dayMs;
const loadAtOnce = 200;

/** Exports: freezes a plan, checks it against the limits once, then sends exactly its items. */
export class ExportStep implements StepHandler {
  readonly #parts: EngineParts;

  constructor(parts: EngineParts) {
    this.#parts = parts;
  }

  async idle(run: Run, { connector }: StepRecord): Promise<DoneOutcome | null> {
    if (run.approval !== null || this.#parts.stagingMode()) return null;
    const { exportShards, hold } = await this.#parts.state.get(connector);
    return exportShards === "" && hold === null ? { kind: "done", status: "success", idle: true } : null;
  }

  async work(slice: Slice): Promise<SliceOutcome> {
    const { connector: name } = slice.step;
    const { plans } = this.#parts;
    if (this.#parts.stagingMode()) {
      return { kind: "done", status: "success", idle: true, detail: "Staging mode: nothing was exported." };
    }
    const configuration = await this.#parts.configuration(slice.run.rulesVersion);
    let cursor: Cursor;
    if (slice.cursor === null) {
      const begun = await this.#begin(slice, configuration);
      if ("kind" in begun) return begun;
      cursor = begun;
      await slice.save(JSON.stringify(cursor));
    } else cursor = JSON.parse(slice.cursor) as Cursor;

    const connector = await this.#parts.connector(name);
    const items = await plans.items(name, slice.run.id);
    // A batch may be sent side by side, so it holds no two ranks.
    const ranks = [...Map.groupBy(items.slice(cursor.done), ({ rank }) => rank).values()];
    const { exportBatchMax } = connector.capabilities;
    for (const chunk of ranks.flatMap((rank) => chunked(rank, () => 1, exportBatchMax))) {
      if (this.#parts.stagingMode()) {
        await this.#close(slice);
        return {
          kind: "done",
          status: "success",
          detail: `Staging mode was switched on: ${items.length - cursor.done} changes were not exported.`,
        };
      }
      const { failures, moved, exported } = await this.#exportBatch(slice, connector, configuration, chunk);
      cursor = {
        ...cursor,
        done: cursor.done + chunk.length,
        failures: cursor.failures + failures,
        moved: cursor.moved + moved,
      };
      await this.#count(slice, cursor.done, exported);
      await slice.save(JSON.stringify(cursor));
      if (slice.overBudget() && cursor.done < items.length)
        return { kind: "continue", cursor: JSON.stringify(cursor) };
    }
    await this.#close(slice);
    return ended(cursor);
  }

  /** What was exported by now of the items before `upTo`; asked again after a crash, nothing is counted twice. */
  async #count(slice: Slice, upTo: number, exported: Counters): Promise<void> {
    await this.#changeHead(slice, (head) =>
      head.countedUpTo >= upTo
        ? head
        : { ...head, countedUpTo: upTo, exported: addCounters(head.exported, exported) },
    );
  }

  async #close(slice: Slice): Promise<void> {
    const endedAt = isoTime(this.#parts.clock.now());
    await this.#changeHead(slice, (head) => ({ ...head, state: "done", endedAt }));
    const { approval } = slice.run;
    if (approval !== null) await this.#parts.plans.withdrawOffer(slice.step.connector, approval.hash);
  }

  async #changeHead(slice: Slice, change: (head: PlanHead) => PlanHead): Promise<void> {
    const head = await this.#parts.plans.head(slice.step.connector, slice.run.id);
    if (head !== undefined) await this.#parts.plans.setHead(slice.step.connector, change(head));
  }

  // ---- the plan ------------------------------------------------------------------------------------------------

  /** Freezes the plan of this run; or what ends the step without one. */
  async #begin(slice: Slice, configuration: Configuration): Promise<Cursor | SliceOutcome> {
    const { connector: name } = slice.step;
    const { approval } = slice.run;
    if (approval !== null) return this.#freezeApproved(slice, approval);
    const { exportShards, hold } = await this.#parts.state.get(name);
    const pending: PendingExports =
      exportShards === ""
        ? { items: [], resting: 0, onHold: [], unlinked: 0 }
        : await pendingExports(this.#parts, name);
    if (pending.items.length === 0) {
      // With nothing left to decide about, the hold is over.
      if (hold !== null && pending.resting === 0 && pending.onHold.length === 0) await this.#hold(name, null);
      return exportShards === ""
        ? { kind: "done", status: "success", idle: true }
        : ended({ done: 0, failures: 0, moved: 0, resting: pending.resting, onHold: pending.onHold.length });
    }
    const stop = await this.#reasonToStop(slice, configuration, pending, hold);
    if (stop === null)
      return this.#freeze(slice, pending.items, { resting: pending.resting, onHold: pending.onHold.length });

    const { rulesVersion } = slice.run;
    await offerPlan(this.#parts, name, pending.items, rulesVersion, isoTime(this.#parts.clock.now()));
    await this.#freezeHead(slice, pending.items, { state: "held" });
    return { kind: "done", status: stop.status, detail: stop.detail };
  }

  /** Limits first, then whatever holds the connector since an earlier run, then whether every plan is to be approved. */
  async #reasonToStop(
    slice: Slice,
    configuration: Configuration,
    { items, resting, unlinked }: PendingExports,
    hold: ExportHold | null,
  ): Promise<{ readonly status: string; readonly detail: string } | null> {
    const { connector: name } = slice.step;
    const { limits, approval } = configuration.connectors.get(name)!;
    const { plans, connectorSpace, clock } = this.#parts;
    const counts = countsOf(items);
    const totals = await connectorSpace.totals(name);
    const connected = Math.max(0, (totals.connectors ?? 0) - (totals["export.add"] ?? 0)) + unlinked;
    const recent = await plans.exportedSince(name, isoTime(clock.now() - dayMs));
    const exceeded = exceededExportLimit(name, limits, counts, recent, connected);
    if (exceeded !== null) {
      const since = isoTime(clock.now());
      await this.#hold(name, { ...exceeded, since: hold?.since ?? since, runId: slice.run.id });
      return exceeded;
    }
    const all = items.length + resting;
    if (hold !== null)
      return {
        status: hold.status,
        detail: `${hold.detail} Since ${hold.since} the exports of ${name} are held; ${all} are pending. Approve its export plan, or take away what is not wanted.`,
      };
    if (approval === "always")
      return {
        status: "stopped-approval-required",
        detail: `${items.length} pending exports of ${name} wait for somebody to approve their plan.`,
      };
    return null;
  }

  async #hold(name: string, hold: ExportHold | null): Promise<void> {
    await this.#parts.state.update(name, (state) => ({ ...state, hold }));
  }

  /** Exactly the items that were approved; those that have changed since are left out and reported. */
  async #freezeApproved(slice: Slice, { hash, at }: Approval): Promise<Cursor> {
    const { connector: name } = slice.step;
    const { plans, clock } = this.#parts;
    const offer = await plans.offer(name, hash);
    const isLapsed = clock.now() >= Date.parse(at) + approvalLifeMs;
    if (offer === undefined || isLapsed || offer.rulesVersion !== slice.run.rulesVersion)
      throw new StepStopped(
        "stopped-approval-required",
        `The approval of ${at} has lapsed before it could be carried out. Nothing was exported to ${name}.`,
      );
    const items: PlanItem[] = [];
    const errors: { readonly object: string; readonly error: RunError }[] = [];
    for (const chunk of chunked(await plans.items(name, hash), () => 1, loadAtOnce)) {
      const stored = await this.#load(name, chunk);
      for (const item of chunk) {
        const object = stored.get(item.id)?.object;
        const pending = object?.escrow ?? object?.pendingExport ?? null;
        if (pending !== null && exportDigest(pending) === item.digest) items.push(item);
        else errors.push({ object: item.id, error: changedSince(item, object, isoTime(clock.now())) });
      }
    }
    await slice.report(errors);
    const cursor = await this.#freeze(slice, items, { approved: true, moved: errors.length });
    await this.#hold(name, null);
    return cursor;
  }

  async #freeze(
    slice: Slice,
    items: readonly PlanItem[],
    { approved = false, moved = 0, resting = 0, onHold = 0 },
  ): Promise<Cursor> {
    const { connector: name } = slice.step;
    const now = this.#parts.clock.now();
    await this.#parts.plans.forget(name, {
      offered: isoTime(now - approvalLifeMs),
      ended: isoTime(now - planLifeMs),
    });
    await this.#freezeHead(slice, items, { state: "running", approved });
    return { done: 0, failures: 0, moved, resting, onHold };
  }

  async #freezeHead(
    slice: Slice,
    items: readonly PlanItem[],
    { state, approved = false }: { state: "running" | "held"; approved?: boolean },
  ): Promise<void> {
    const { connector: name } = slice.step;
    const now = isoTime(this.#parts.clock.now());
    const head: PlanHead = {
      runId: slice.run.id,
      hash: planHash(name, items),
      state,
      approved,
      createdAt: now,
      items: items.length,
      counts: countsOf(items),
      exported: {},
      countedUpTo: 0,
      endedAt: state === "held" ? now : null,
    };
    await this.#parts.plans.freeze(name, head, state === "held" ? [] : items);
  }

  #load(name: string, items: readonly PlanItem[]): Promise<Map<string, Stored>> {
    return this.#parts.connectorSpace.getMany(
      name,
      items.map(({ id }) => id),
    );
  }

  // ---- sending -------------------------------------------------------------------------------------------------

  async #exportBatch(
    slice: Slice,
    connector: Connector,
    configuration: Configuration,
    items: readonly PlanItem[],
  ): Promise<{ readonly failures: number; readonly moved: number; readonly exported: Counters }> {
    const { connector: name } = slice.step;
    const { connectorSpace, clock } = this.#parts;
    const schemas = configuration.schemas.get(name) ?? [];
    const { exportRetries } = configuration.connectors.get(name)!;
    const stored = await this.#load(name, items);
    const chosen: { readonly before: Stored; readonly item: PlanItem; readonly outcomeUnknown: boolean }[] =
      [];
    const exported: Counters[] = [];
    let moved = 0;
    // Somebody may have put them on hold since the plan was made.
    const holds = await this.#parts.holds.active(isoTime(clock.now()));
    const held: { readonly object: string; readonly error: RunError }[] = [];
    for (const item of items) {
      const before = stored.get(item.id);
      const { escrow = null, pendingExport = null, metaverseId = null } = before?.object ?? {};
      const hold = metaverseId === null ? undefined : holds.get(metaverseId);
      // Nothing but exports takes a pending one away while this run is open: it was exported before a crash.
      if (before === undefined || (escrow === null && pendingExport === null))
        exported.push({ [item.kind]: 1 });
      else if (hold !== undefined) {
        moved++;
        held.push({ object: item.id, error: onHold(before.object, hold, isoTime(clock.now())) });
      } else if (escrow !== null) chosen.push({ before, item, outcomeUnknown: true });
      else if (exportDigest(pendingExport!) === item.digest)
        chosen.push({ before, item, outcomeUnknown: false });
      else moved++;
    }
    await slice.report(held);
    if (chosen.length === 0) return { failures: 0, moved, exported: addCounters(...exported) };

    await connectorSpace.write(
      slice.writer,
      chosen.map(({ before }) => ({ before, after: escrowed(before.object, slice.run.id) })),
    );
    const escrows = await this.#load(
      name,
      chosen.map(({ item }) => item),
    );
    // No write to a directory is begun that might still be under way when somebody else takes the lease over.
    await slice.lease.save({});
    const mayWrite = () => slice.mayWrite(connector.capabilities.exportTimeoutMs);
    const changes = chosen.map(({ item, outcomeUnknown }) =>
      toChange(escrows.get(item.id)!.object, item, outcomeUnknown),
    );
    const results = await connector.exportBatch(changes, {
      log: (message) => slice.log(message),
      mayWrite,
      signal: slice.signal,
    });

    const now = isoTime(clock.now());
    const writes: (ObjectWrite & { readonly counters: Counters })[] = [];
    const errors: { readonly object: string; readonly error: RunError }[] = [];
    const histories: { readonly before: ConnectorSpaceObject; readonly after: ConnectorSpaceObject }[] = [];
    const lookedAtAgain: string[] = [];
    for (const [index, { item, outcomeUnknown }] of chosen.entries()) {
      const before = escrows.get(item.id)!;
      const outcome = afterExport(before.object, results[index]!, {
        schemas,
        retries: exportRetries,
        now,
        without: item.without ?? [],
      });
      const image = importedImage(outcome.object);
      // While it was in escrow no synchronisation could say what else is wanted of it, and the import that shows it may
      // have been: the next synchronisation is to decide.
      const isPending =
        outcomeUnknown &&
        image !== null &&
        outcome.object.pendingImport === null &&
        before.object.escrow?.change !== "delete";
      const pendingImport = isPending ? { change: "update" as const, image } : outcome.object.pendingImport;
      if (isPending) lookedAtAgain.push(shardOf(item.id));
      writes.push({
        before,
        after: { ...outcome.object, pendingImport },
        counters: { [outcome.counter]: 1 },
      });
      if (outcome.error === null) {
        exported.push({ [item.kind]: 1 });
        histories.push({ before: before.object, after: outcome.object });
      } else errors.push({ object: item.id, error: runError(outcome.error, outcome.object) });
    }
    await this.#keepHistory(slice, histories, schemas);
    await this.#dropTwins(slice, results);
    if (lookedAtAgain.length > 0)
      await this.#parts.state.markDirty(name, "importShards", lookedAtAgain, stepKey(slice));
    await connectorSpace.write(slice.writer, writes);
    await slice.report(errors);
    return { failures: errors.length, moved, exported: addCounters(...exported) };
  }

  /**
   * An account whose creation was not answered, and that somebody moved before the export resumed it, was imported
   * meanwhile as an object of its own. It is the one that was just exported.
   */
  async #dropTwins({ step, writer }: Slice, results: readonly ExportResult[]): Promise<void> {
    const { connectorSpace } = this.#parts;
    const ids = results.flatMap((result) =>
      result.kind === "exported" && result.resumed === true ? importedId(step.connector, result.anchor) : [],
    );
    if (ids.length === 0) return;
    const found = await connectorSpace.getMany(step.connector, ids);
    const twins = [...found.values()].filter(
      ({ object }) => object.metaverseId === null && object.disconnector !== "explicit",
    );
    await connectorSpace.write(
      writer,
      twins.map((before) => ({ before, after: null, counters: {} })),
    );
  }

  /** Before what was sent is taken out of escrow: a replay reads the directory and writes the same rows again. */
  async #keepHistory(
    { run, step }: Slice,
    exported: readonly { readonly before: ConnectorSpaceObject; readonly after: ConnectorSpaceObject }[],
    schemas: readonly ObjectTypeSchema[],
  ): Promise<void> {
    const at = isoTime(this.#parts.clock.now());
    const writes = exported.flatMap(({ before, after }): HistoryWrite[] => {
      // An account that belongs to nobody has a history of its own.
      const { metaverseId: owner, id, escrow } = before;
      if (escrow === null) return [];
      const metaverseId = owner ?? id;
      const { writeOnly } = syntaxesOf(schemas, after.objectType);
      const entry = exportHistory(after, escrow, writeOnly, { at, runId: run.id });
      const order = historyOrder(run, step, `export-${before.id}`);
      return [{ metaverseId, order, since: run.startedAt, entry }];
    });
    await this.#parts.objectHistory.add(writes);
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
    await keepMarked(this.#parts, connector, "export", isCurrent);
  }
}

function ended({ failures, moved, resting, onHold }: Cursor): SliceOutcome {
  const details = [
    ...(moved === 0 ? [] : [`${moved} changes had moved on since the plan was made and were left out.`]),
    ...(resting === 0
      ? []
      : [`${resting} changes that were refused before wait for their next try, or are quarantined.`]),
    ...(onHold === 0 ? [] : [`${onHold} changes wait because their metaverse objects are on hold.`]),
  ];
  return {
    kind: "done",
    status: failures > 0 ? "completed-export-errors" : moved > 0 ? "completed-warnings" : "success",
    ...(details.length > 0 && { detail: details.join(" ") }),
  };
}

function onHold({ anchor, dn }: ConnectorSpaceObject, { why, by, since }: Hold, now: string): RunError {
  return {
    code: "on-hold",
    anchor,
    dn,
    rule: null,
    attribute: null,
    message: `Its metaverse object was put on hold by ${by} at ${since}: ${why} It was left out; it stays pending.`,
    firstOccurred: now,
    retryCount: 0,
  };
}

function changedSince(item: PlanItem, object: ConnectorSpaceObject | undefined, now: string): RunError {
  return {
    code: "changed-since-approval",
    anchor: object?.anchor ?? null,
    dn: object?.dn ?? null,
    rule: null,
    attribute: null,
    message: `The ${item.kind} that was approved is not what is pending now. It was left out; the next export decides about what is pending.`,
    firstOccurred: now,
    retryCount: 0,
  };
}

function toChange(object: ConnectorSpaceObject, item: PlanItem, outcomeUnknown: boolean): ExportChange {
  const sent = object.escrow!;
  return {
    id: object.id,
    objectType: object.objectType,
    change: sent.change,
    anchor: object.anchor,
    dn: object.dn,
    ...(sent.newDn === undefined ? {} : { newDn: sent.newDn }),
    attributes: sent.attributes.filter(({ name }) => !item.without?.includes(name)),
    outcomeUnknown,
  };
}

/** The shards in which objects have something to export. */
export function exportShards(objects: readonly ConnectorSpaceObject[]): string[] {
  return objects.filter(({ pendingExport }) => pendingExport !== null).map(({ id }) => shardOf(id));
}
