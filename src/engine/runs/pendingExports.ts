/** What a connector would export now, as a plan. */
import { createHash } from "node:crypto";
import { resting } from "../core/exporting.ts";
import { inExportOrder, type PlanItem, type PlannedChange, plannedChange } from "../core/exportOrder.ts";
import { shards } from "../core/identity.ts";
import type { ConnectorSpaceObject } from "../core/model.ts";
import { addCounters, type Counters } from "../stores/fence.ts";
import type { PlanOffer } from "../stores/plans.ts";
import { chunked } from "../stores/texts.ts";
import { type EngineParts, isoTime } from "./engine.ts";

/** How long a plan that was shown can be approved, and an approval be carried out. */
export const approvalLifeMs = 24 * 60 * 60 * 1000;

export interface PendingExports {
  /** In the order in which they are sent. */
  readonly items: readonly PlanItem[];
  /** Pending too, but not sent now: refused before, they wait for their next try or are quarantined. */
  readonly resting: number;
  /** Pending too, for people who are on hold. */
  readonly onHold: readonly ConnectorSpaceObject[];
  /** How many of the items are changes of accounts that belong to nobody: percentages count them in. */
  readonly unlinked: number;
}

const loadAtOnce = 200;

export async function pendingExports(parts: EngineParts, connector: string): Promise<PendingExports> {
  const now = isoTime(parts.clock.now());
  const dirty = (await parts.state.get(connector)).exportShards;
  const holds = await parts.holds.active(now);
  const changes: PlannedChange[] = [];
  const onHold: ConnectorSpaceObject[] = [];
  let left = 0;
  let unlinked = 0;
  for (const shard of shards.filter((one) => dirty.includes(one))) {
    const ids: string[] = [];
    for await (const { id } of parts.connectorSpace.marked(connector, shard, "export")) ids.push(id);
    for (const chunk of chunked(ids, () => 1, loadAtOnce)) {
      for (const { object } of (await parts.connectorSpace.getMany(connector, chunk)).values()) {
        const pending = object.escrow ?? object.pendingExport;
        if (pending === null) continue;
        if (object.metaverseId !== null && holds.has(object.metaverseId)) onHold.push(object);
        else if (resting(object, now)) left++;
        else {
          if (object.metaverseId === null) unlinked++;
          changes.push(plannedChange(object, pending));
        }
      }
    }
  }
  return { items: inExportOrder(changes), resting: left, onHold, unlinked };
}

export function countsOf(items: readonly PlanItem[]): Counters {
  return addCounters(...items.map(({ kind }) => ({ [kind]: 1 })));
}

/** Stands for exactly these items and what each of them would send. */
export function planHash(connector: string, items: readonly PlanItem[]): string {
  return createHash("sha256")
    .update(JSON.stringify([connector, items]))
    .digest("hex");
}

/** Offers a plan for approval. @param at ISO 8601 */
export async function offerPlan(
  parts: EngineParts,
  connector: string,
  items: readonly PlanItem[],
  rulesVersion: string,
  at: string,
): Promise<PlanOffer> {
  const hash = planHash(connector, items);
  const offer = { hash, createdAt: at, rulesVersion, items: items.length, counts: countsOf(items) };
  await parts.plans.keepOffer(connector, offer, items);
  return offer;
}

/** Whether somebody can still approve it. */
export function isOnOffer(offer: PlanOffer, rulesVersion: string, nowMs: number): boolean {
  return offer.rulesVersion === rulesVersion && nowMs < Date.parse(offer.createdAt) + approvalLifeMs;
}
