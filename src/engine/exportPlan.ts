/** What a connector would export now, as data, and the approval of exactly that. */
import { type ExportKind, exportDigest, exportKind } from "./core/exporting.ts";
import type { PlanItem } from "./core/exportOrder.ts";
import type { ConnectorSpaceObject, PendingExport } from "./core/model.ts";
import { type Syntaxes, syntaxesOf } from "./core/schema.ts";
import { type AttributeValue, attributesToJson, type JsonAttributes } from "./core/values.ts";
import { type Engine, ProfileNotSupported } from "./engine.ts";
import type { ObjectTypeSchema } from "./ports/connector.ts";
import { BadContinuation } from "./queries.ts";
import { isoTime } from "./runs/engine.ts";
import { approvalLifeMs, isOnOffer, offerPlan, pendingExports, planHash } from "./runs/pendingExports.ts";
import type { Hold } from "./stores/holds.ts";
import type { PlanOffer } from "./stores/plans.ts";
import type { Approval, Run, Trigger } from "./stores/runs.ts";

export interface ExportPlan {
  readonly connector: string;
  /** Stands for exactly these items and what each of them would send. */
  readonly hash: string;
  /**
   * `held`: no export of the connector goes on before somebody approves. `approved`: it is being exported. `done`:
   * nothing is pending.
   */
  readonly state: "pending" | "held" | "approved" | "done";
  /** ISO 8601. When an export was stopped with this plan, or else when it was shown first. */
  readonly createdAt: string;
  /** ISO 8601: until when it can be approved; null when nothing is pending. */
  readonly expiresAt: string | null;
  readonly counts: Readonly<Record<ExportKind, number>>;
  readonly items: readonly ExportPlanItem[];
  /** Pending too, and no part of the plan: their metaverse objects are on hold. At most 100, on the first page. */
  readonly onHold: readonly HeldChange[];
  readonly continuation?: string;
}

export interface HeldChange {
  readonly id: string;
  readonly anchor: string | null;
  readonly dn: string;
  readonly change: ExportKind;
  readonly hold: Hold;
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

/** The plan that the caller speaks of is not on offer: something else is pending now, or it has lapsed. */
export class PlanNotCurrent extends Error {
  constructor(connector: string) {
    super(
      `This is not an export plan of ${connector} that can be approved now: what is pending has changed since, ` +
        "or the plan has lapsed. Read it again.",
    );
    this.name = "PlanNotCurrent";
  }
}

/** While `STAGING_MODE` is on nothing can be exported, approved or not. */
export class StagingModeOn extends Error {
  constructor() {
    super("STAGING_MODE is on: nothing is exported. Switch it off, then approve.");
    this.name = "StagingModeOn";
  }
}

const noneOfAnyKind: ExportPlan["counts"] = {
  add: 0,
  adopt: 0,
  update: 0,
  rename: 0,
  enable: 0,
  disable: 0,
  delete: 0,
};

interface Shown {
  readonly head: Omit<ExportPlan, "items" | "onHold" | "continuation">;
  readonly items: readonly PlanItem[];
  readonly onHold: ExportPlan["onHold"];
}

const heldShown = 100;

export class ExportPlans {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /**
   * What is shown is kept: it can be approved by its hash for 24 hours, and its later pages are of the same plan.
   * @throws PlanNotCurrent, BadContinuation, ConnectorError when the schema cannot be read
   */
  async page(connector: string, limit: number, continuation?: string): Promise<ExportPlan> {
    const from = continuation === undefined ? null : decodeContinuation(continuation);
    // The schema says which attributes are secret; without it nothing is shown.
    const schemas = await this.#engine.schema(connector);
    const { head, items, onHold } =
      from === null ? await this.#pending(connector) : await this.#kept(connector, from.hash);
    const start = from?.index ?? 0;
    const end = start + limit;
    const page: ExportPlan = {
      ...head,
      items: await this.#items(connector, items.slice(start, end), schemas, head.state === "approved"),
      onHold,
    };
    return end >= items.length ? page : { ...page, continuation: encodeContinuation(head.hash, end) };
  }

  /**
   * Starts the export of exactly the plan with this hash.
   * @param by who decided, as far as is known
   * @throws PlanNotCurrent, StagingModeOn, RunInTheWay, ProfileNotSupported, UnknownName
   */
  async approve(
    connector: string,
    { hash, why, by }: { readonly hash: string; readonly why: string | null; readonly by: string | null },
    trigger: Trigger,
  ): Promise<Run> {
    const { parts, plans } = this.#engine;
    const rulesVersion = await this.#engine.rules.activeVersion();
    const { runProfiles } = this.#engine.definition(connector);
    const profile = runProfiles.find(({ type }) => type === "export");
    if (profile === undefined || !this.#engine.connector(connector).capabilities.export)
      throw new ProfileNotSupported(connector, profile?.name ?? "Export");
    const now = parts.clock.now();
    const offer = await plans.offer(connector, hash);
    if (offer === undefined || offer.items === 0 || !isOnOffer(offer, rulesVersion, now))
      throw new PlanNotCurrent(connector);
    if (parts.stagingMode()) throw new StagingModeOn();
    const approval = { hash, why, by, at: isoTime(now) };
    const run = await this.#engine.startApproved(connector, profile.name, approval, trigger);
    // After the start, which may be refused. The run itself tells who, when and why too.
    await this.#engine.audit.add({
      at: approval.at,
      who: by ?? trigger,
      what: "approvePlan",
      about: { connector, runId: run.id },
      why,
      details: { hash, changes: offer.items, ...offer.counts },
    });
    return run;
  }

  async #pending(connector: string): Promise<Shown> {
    const { parts, plans } = this.#engine;
    const rulesVersion = await this.#engine.rules.activeVersion();
    const approved = await this.#beingExported(connector);
    const underWay = approved && (await plans.offer(connector, approved.hash));
    if (underWay) return this.#kept(connector, underWay.hash);
    const { items, onHold: held } = await pendingExports(parts, connector);
    const now = parts.clock.now();
    const onHold = await this.#onHold(held);
    if (items.length === 0) {
      const head = {
        connector,
        hash: planHash(connector, []),
        state: "done",
        createdAt: isoTime(now),
        expiresAt: null,
      } as const;
      return { head: { ...head, counts: noneOfAnyKind }, items, onHold };
    }
    const known = await plans.offer(connector, planHash(connector, items));
    const offer =
      known !== undefined && isOnOffer(known, rulesVersion, now)
        ? known
        : await offerPlan(parts, connector, items, rulesVersion, isoTime(now));
    return { head: await this.#head(connector, offer), items, onHold };
  }

  async #onHold(held: readonly ConnectorSpaceObject[]): Promise<ExportPlan["onHold"]> {
    if (held.length === 0) return [];
    const holds = await this.#engine.holds.active(isoTime(this.#engine.options.clock.now()));
    return held.slice(0, heldShown).flatMap((object) => {
      const { id, anchor, dn, metaverseId } = object;
      const hold = holds.get(metaverseId ?? "");
      const pending = object.escrow ?? object.pendingExport;
      if (hold === undefined || pending === null) return [];
      return [{ id, anchor, dn, change: exportKind(object, pending), hold }];
    });
  }

  /** A plan as it was shown before, whatever is pending now. */
  async #kept(connector: string, hash: string): Promise<Shown> {
    const { plans } = this.#engine;
    const offer = await plans.offer(connector, hash);
    if (offer === undefined) throw new PlanNotCurrent(connector);
    return {
      head: await this.#head(connector, offer),
      items: await plans.items(connector, hash),
      onHold: [],
    };
  }

  async #head(connector: string, { hash, createdAt, counts }: PlanOffer): Promise<Shown["head"]> {
    const [approved, { hold }, newest] = await Promise.all([
      this.#beingExported(connector),
      this.#engine.state.get(connector),
      this.#engine.plans.newest(connector),
    ]);
    const isHeld = hold !== null || (newest?.state === "held" && newest.hash === hash);
    return {
      connector,
      hash,
      state: approved?.hash === hash ? "approved" : isHeld ? "held" : "pending",
      createdAt,
      expiresAt: isoTime(Date.parse(createdAt) + approvalLifeMs),
      counts: { ...noneOfAnyKind, ...counts },
    };
  }

  /** The approval that an open run is carrying out. */
  async #beingExported(connector: string): Promise<Approval | null | undefined> {
    const { runs } = this.#engine;
    const open = await Promise.all((await runs.openIds()).map((id) => runs.get(id)));
    return open.find(
      (stored) => stored?.run.approval && stored.run.steps.some((step) => step.connector === connector),
    )?.run.approval;
  }

  /** @param inPart whether some of the items may have been exported already: those are not shown */
  async #items(
    connector: string,
    items: readonly PlanItem[],
    schemas: readonly ObjectTypeSchema[],
    inPart: boolean,
  ): Promise<ExportPlanItem[]> {
    const stored = await this.#engine.connectorSpace.getMany(
      connector,
      items.map(({ id }) => id),
    );
    return items.flatMap(({ id, digest }) => {
      const object = stored.get(id)?.object;
      const pending = object?.escrow ?? object?.pendingExport ?? null;
      if (object !== undefined && pending !== null && exportDigest(pending) === digest)
        return planItem(object, pending, syntaxesOf(schemas, object.objectType));
      if (inPart) return [];
      throw new PlanNotCurrent(connector);
    });
  }
}

export function planItem(
  object: ConnectorSpaceObject,
  pending: PendingExport,
  { writeOnly }: Syntaxes,
): ExportPlanItem {
  const { id, anchor, dn } = object;
  return {
    id,
    anchor,
    dn,
    ...(pending.newDn === undefined ? {} : { newDn: pending.newDn }),
    change: exportKind(object, pending),
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
