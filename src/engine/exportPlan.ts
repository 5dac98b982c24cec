/** What a connector would export now, as data: read before somebody decides about it. */
import type { ExportKind } from "./core/exporting.ts";
import { exportDigest, exportKind } from "./core/exporting.ts";
import type { ConnectorSpaceObject, PendingExport } from "./core/model.ts";
import { type Syntaxes, syntaxesOf } from "./core/schema.ts";
import { type AttributeValue, attributesToJson, type JsonAttributes } from "./core/values.ts";
import type { Engine } from "./engine.ts";
import type { ObjectTypeSchema } from "./ports/connector.ts";
import { BadContinuation } from "./queries.ts";
import { isoTime } from "./runs/engine.ts";
import { pendingItems, planHash } from "./runs/exportStep.ts";
import { addCounters } from "./stores/fence.ts";
import type { PlanItem } from "./stores/plans.ts";

export interface ExportPlan {
  readonly connector: string;
  /** Stands for exactly these items and what each of them would send. */
  readonly hash: string;
  /** `held`: an export of exactly this plan was stopped by a limit. `done`: nothing is pending. */
  readonly state: "pending" | "held" | "done";
  /** ISO 8601. When the plan was frozen, or else when this was asked. */
  readonly createdAt: string;
  /** ISO 8601; null when nothing is pending. */
  readonly expiresAt: string | null;
  readonly counts: Readonly<Record<ExportKind | "adopt", number>>;
  readonly items: readonly ExportPlanItem[];
  readonly continuation?: string;
}

export interface ExportPlanItem {
  readonly id: string;
  readonly anchor: string | null;
  readonly dn: string;
  /** Where the object is renamed or moved to. */
  readonly newDn?: string;
  readonly change: ExportKind;
  readonly reason: string;
  /** Null: no value. Write-only attributes (passwords) are left out. */
  readonly attributes: readonly {
    readonly name: string;
    readonly before: JsonAttributes[string] | null;
    readonly after: JsonAttributes[string] | null;
    readonly rule: string;
  }[];
}

/** The plan that the caller speaks of is not what is pending now. */
export class PlanNotCurrent extends Error {
  constructor(connector: string) {
    super(`What is pending for ${connector} has changed since. Read its export plan again.`);
    this.name = "PlanNotCurrent";
  }
}

/** Approvals lapse after 24 hours (DESIGN section 6), and with them the plan. */
const planLifeMs = 24 * 60 * 60 * 1000;

const noneOfAnyKind: ExportPlan["counts"] = {
  add: 0,
  adopt: 0,
  update: 0,
  rename: 0,
  enable: 0,
  disable: 0,
  delete: 0,
};

interface Pending {
  readonly head: Omit<ExportPlan, "items" | "continuation">;
  readonly items: readonly PlanItem[];
}

export class ExportPlans {
  readonly #engine: Engine;
  /** The plan whose pages are being read, by connector: finding it means reading every object of it. */
  readonly #read = new Map<string, Pending>();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** @throws PlanNotCurrent, BadContinuation, ConnectorError when the schema cannot be read */
  async page(connector: string, limit: number, continuation?: string): Promise<ExportPlan> {
    const from = continuation === undefined ? null : decodeContinuation(continuation);
    // The schema says which attributes are secret; without it nothing is shown.
    const schemas = await this.#engine.schema(connector);
    const known = this.#read.get(connector);
    const { head, items } =
      from !== null && known?.head.hash === from.hash ? known : await this.#pending(connector);
    if (from !== null && from.hash !== head.hash) throw new PlanNotCurrent(connector);
    const start = from?.index ?? 0;
    const end = start + limit;
    const page: ExportPlan = {
      ...head,
      items: await this.#items(connector, items.slice(start, end), schemas),
    };
    if (end >= items.length) {
      this.#read.delete(connector);
      return page;
    }
    this.#read.set(connector, { head, items });
    return { ...page, continuation: encodeContinuation(head.hash, end) };
  }

  async #pending(connector: string): Promise<Pending> {
    const { parts, plans } = this.#engine;
    const [items, newest] = await Promise.all([pendingItems(parts, connector), plans.newest(connector)]);
    const hash = planHash(connector, items);
    const isHeld = newest !== undefined && newest.state === "held" && newest.hash === hash;
    const state = items.length === 0 ? "done" : isHeld ? "held" : "pending";
    const createdAt = isHeld ? newest.createdAt : isoTime(parts.clock.now());
    const head = {
      connector,
      hash,
      state,
      createdAt,
      expiresAt: state === "done" ? null : isoTime(Date.parse(createdAt) + planLifeMs),
      counts: { ...noneOfAnyKind, ...addCounters(...items.map(({ kind }) => ({ [kind]: 1 }))) },
    } as const;
    return { head, items };
  }

  async #items(
    connector: string,
    items: readonly PlanItem[],
    schemas: readonly ObjectTypeSchema[],
  ): Promise<ExportPlanItem[]> {
    const stored = await this.#engine.connectorSpace.getMany(
      connector,
      items.map(({ id }) => id),
    );
    return items.map(({ id, digest }) => {
      const object = stored.get(id)?.object;
      const pending = object?.escrow ?? object?.pendingExport ?? null;
      if (object === undefined || pending === null || exportDigest(pending) !== digest)
        throw new PlanNotCurrent(connector);
      return planItem(object, pending, syntaxesOf(schemas, object.objectType));
    });
  }
}

export function planItem(
  { id, anchor, dn }: ConnectorSpaceObject,
  pending: PendingExport,
  { writeOnly }: Syntaxes,
): ExportPlanItem {
  return {
    id,
    anchor,
    dn,
    ...(pending.newDn === undefined ? {} : { newDn: pending.newDn }),
    change: exportKind(pending),
    reason: pending.reason,
    attributes: pending.attributes
      .filter(({ name }) => !writeOnly(name))
      .map(({ name, before, after, rule }) => ({ name, before: toJson(before), after: toJson(after), rule })),
  };
}

function toJson(value: AttributeValue | undefined): JsonAttributes[string] | null {
  return value === undefined ? null : attributesToJson({ value }).value!;
}

function encodeContinuation(hash: string, index: number): string {
  return Buffer.from(JSON.stringify([hash, index])).toString("base64url");
}

function decodeContinuation(continuation: string): { readonly hash: string; readonly index: number } {
  try {
    const [hash, index] = JSON.parse(Buffer.from(continuation, "base64url").toString("utf8"));
    if (typeof hash === "string" && Number.isSafeInteger(index) && index > 0) return { hash, index };
  } catch {
    // not JSON: the same answer as for any other foreign text
  }
  throw new BadContinuation();
}
