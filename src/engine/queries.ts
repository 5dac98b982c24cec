/** What the HTTP API shows: reads only. */

import { anchorsOf, type ConnectorSpaceFilter, meetsFilter, stateOf } from "./connectorSpaceSearch.ts";
import { heldAttributes } from "./core/exportFlow.ts";
import { shards } from "./core/identity.ts";
import type { ConnectorSpaceObject, MetaverseObject, ObjectError, PendingExport } from "./core/model.ts";
import { refusalOf } from "./core/objectErrors.ts";
import { synchronizationKey } from "./core/ruleVersions.ts";
import { attributesToJson } from "./core/values.ts";
import { type Engine, ProfileNotSupported } from "./engine.ts";
import { lineageOf } from "./lineage.ts";
import { type MetaverseClause, meetsClause } from "./metaverseSearch.ts";
import { type Orphan, orphanOf, stampAttributeOf } from "./orphans.ts";
import { isoTime } from "./runs/engine.ts";
import type { StepStatistics } from "./runs/outboundCounters.ts";
import { exportToJson, imageToJson, type Stored } from "./stores/connectorSpaceRows.ts";
import type { StoredMetaverseObject } from "./stores/metaverse.ts";
import type { Run, StepRecord } from "./stores/runs.ts";

/** One page of a list, as every list of the API answers. */
export interface Page<T> {
  readonly items: readonly T[];
  readonly continuation?: string;
}

/** A `continuation` that this deployment has not given out. */
export class BadContinuation extends Error {
  constructor() {
    super("The continuation is not one that a list of this deployment gave out.");
    this.name = "BadContinuation";
  }
}

const errorsShown = 200;
/** A search that finds little reads on for at most this many pages before it answers what it has. */
const pagesPerRequest = 20;

const watermarkAgeSeconds = (at: string | null, now: number) =>
  at === null ? null : Math.max(0, Math.round((now - Date.parse(at)) / 1000));

export class Queries {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  // ---- runs ----------------------------------------------------------------------------------------------------

  async runs(
    filter: { connector?: string; status?: string },
    limit: number,
    continuation?: string,
  ): Promise<Page<unknown>> {
    const wanted = (run: Run) =>
      (filter.status === undefined || run.status === filter.status) &&
      (filter.connector === undefined || run.steps.some(({ connector }) => connector === filter.connector));
    const items: unknown[] = [];
    let next = continuation;
    for (let pages = 0; pages < pagesPerRequest; pages++) {
      const page = await this.#engine.runs.page(limit - items.length, next);
      items.push(...page.runs.filter(wanted).map(publicRun));
      next = page.continuation;
      if (next === undefined || items.length >= limit) break;
    }
    return next === undefined ? { items } : { items, continuation: next };
  }

  /** One run with its errors and, while it is in progress, what has been counted so far. */
  async run(id: string): Promise<object | null> {
    const stored = await this.#engine.runs.get(id);
    if (stored === undefined) return null;
    const { run } = stored;
    const steps = await Promise.all(
      run.steps.map(async (step, index) => {
        const live = run.endedAt === null && index === run.currentStep ? await this.#live(run, step) : {};
        const errors =
          step.startedAt === null ? [] : await this.#engine.history.errors(run.id, index, errorsShown);
        return { ...step, ...live, errors };
      }),
    );
    return { ...publicRun(run), steps };
  }

  async #live(
    run: Run,
    step: StepRecord,
  ): Promise<StepStatistics & { lastError?: string; retryAt?: string }> {
    const rows = await this.#engine.checkpoints.list(run.id, run.currentStep);
    const counted = await this.#engine.protocol.counted(run, step);
    const failing = rows.find(({ checkpoint }) => checkpoint.lastError !== null)?.checkpoint;
    return {
      ...counted,
      ...(failing === undefined
        ? {}
        : { lastError: failing.lastError!, retryAt: new Date(failing.notBefore).toISOString() }),
    };
  }

  // ---- connectors ----------------------------------------------------------------------------------------------

  async connectors(): Promise<Page<object>> {
    const names = [...this.#engine.configuration.connectors.keys()];
    return { items: await Promise.all(names.map(async (name) => (await this.connector(name))!)) };
  }

  async connector(name: string): Promise<object | null> {
    const definition = this.#engine.configuration.connectors.get(name);
    if (definition === undefined) return null;
    const [state, totals, recent, rules] = await Promise.all([
      this.#engine.state.get(name),
      this.#engine.connectorSpace.totals(name),
      this.#engine.runs.page(50),
      this.#engine.activeIfItChecks(),
    ]);
    const of = (prefix: string) => (change: string) => totals[`${prefix}.${change}`] ?? 0;
    const imports = of("import");
    const exports = of("export");
    return {
      name,
      kind: definition.kind,
      runProfiles: definition.runProfiles,
      counts: {
        objects: totals.objects ?? 0,
        connectors: totals.connectors ?? 0,
        disconnectors: totals.disconnectors ?? 0,
        filteredDisconnectors: totals.filteredDisconnectors ?? 0,
        explicitDisconnectors: totals.explicitDisconnectors ?? 0,
        unconfirmedExports: totals.unconfirmed ?? 0,
        errors: totals.errors ?? 0,
        quarantined: totals.quarantined ?? 0,
      },
      pendingImports: {
        add: imports("add"),
        update: imports("update"),
        delete: imports("delete"),
        deleteAdd: imports("deleteAdd"),
      },
      pendingExports: { add: exports("add"), update: exports("update"), delete: exports("delete") },
      watermarkAt: state.watermarkAt,
      watermarkAgeSeconds: watermarkAgeSeconds(state.watermarkAt, this.#engine.options.clock.now()),
      lastFullImportAt: state.fullImportAt,
      fullImportRequired: state.watermark === null,
      exportsHeld: state.hold,
      fullSynchronizationRequired:
        name === this.#engine.rulesConnector
          ? (totals.objects ?? 0) === 0 || imports("add") + imports("update") + imports("delete") > 0
          : rules === null || state.synchronizedRules !== synchronizationKey(rules, name),
      lastRuns: recent.runs
        .filter(({ steps }) => steps.some(({ connector }) => connector === name))
        .slice(0, 5)
        .map(({ id, cycle, status, startedAt, endedAt, trigger }) => ({
          id,
          cycle,
          status,
          startedAt,
          endedAt,
          trigger,
        })),
    };
  }

  // ---- connector space -----------------------------------------------------------------------------------------

  /** By csId or by anchor. */
  async findObject(connector: string, key: string): Promise<Stored | null> {
    if (/^[0-9a-f]{32}$/i.test(key)) {
      const byId = await this.#engine.connectorSpace.get(connector, key.toLowerCase());
      if (byId !== undefined) return byId;
    }
    return (await this.#findByAnchor(connector, key)) ?? null;
  }

  async #findByAnchor(connector: string, key: string): Promise<Stored | undefined> {
    for (const anchor of anchorsOf(key)) {
      const found = await this.#engine.connectorSpace.findByAnchor(connector, anchor);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Without secrets. */
  #shownExport(connector: string, pending: PendingExport | null) {
    const { secretAttributes } = this.#engine.definition(connector);
    return exportToJson(
      pending && {
        ...pending,
        attributes: pending.attributes.filter(({ name }) => !secretAttributes.has(name.toLowerCase())),
      },
    );
  }

  async object(connector: string, key: string): Promise<object | null> {
    const stored = await this.findObject(connector, key);
    if (stored === null) return null;
    const { object } = stored;
    return {
      ...objectSummary(object),
      tower: {
        synchronized: imageToJson(object.synchronized),
        pendingImport: object.pendingImport && {
          change: object.pendingImport.change,
          image: imageToJson(object.pendingImport.image),
        },
        pendingExport: this.#shownExport(connector, object.pendingExport),
        escrowedExport: object.escrow && {
          ...this.#shownExport(connector, object.escrow),
          runId: object.escrow.runId,
        },
        unconfirmedExport: object.unconfirmed && {
          change: object.unconfirmed.change,
          ...(object.unconfirmed.newDn === undefined ? {} : { newDn: object.unconfirmed.newDn }),
          expected: expectedToJson(object.unconfirmed.expected),
        },
      },
      absence: object.absence,
      held: heldAttributes(object),
      hold:
        object.metaverseId === null
          ? null
          : await this.#engine.holds.get(object.metaverseId, isoTime(this.#engine.options.clock.now())),
      error: object.error === null ? null : errorToJson(object.error, refusalOf(object.error)?.retry),
    };
  }

  async objects(
    connector: string,
    filter: ConnectorSpaceFilter,
    limit: number,
    continuation?: string,
  ): Promise<Page<object>> {
    const { connectorSpace } = this.#engine;
    const matches = (object: ConnectorSpaceObject) => meetsFilter(object, filter);
    if (filter.anchor !== undefined || filter.dn !== undefined) {
      const found =
        filter.anchor !== undefined
          ? [await this.#findByAnchor(connector, filter.anchor)]
          : filter.dn === undefined
            ? []
            : [
                ...(await connectorSpace.findByDn(connector, filter.dn)),
                await connectorSpace.findByAnchor(connector, filter.dn),
              ];
      return {
        items: found
          .filter((one) => one !== undefined)
          .map(({ object }) => object)
          .filter(matches)
          .map(objectSummary),
      };
    }
    return this.#scan(limit, continuation, async (shard, size, token) => {
      const page = await connectorSpace.page(connector, shard, size, token);
      return {
        items: page.objects
          .map(({ object }) => object)
          .filter(matches)
          .map(objectSummary),
        continuation: page.continuation,
      };
    });
  }

  /** Accounts that belong to nobody. @throws ProfileNotSupported for a connector that is only read */
  async orphans(connector: string, limit: number, continuation?: string): Promise<Page<Orphan>> {
    const { settings, runProfiles, orphans } = this.#engine.definition(connector);
    if (!this.#engine.connector(connector).capabilities.export)
      throw new ProfileNotSupported(
        connector,
        runProfiles.find(({ type }) => type === "export")?.name ?? "Export",
      );
    const stampAttribute = stampAttributeOf(settings);
    return this.#scan(limit, continuation, async (shard, size, token) => {
      const page = await this.#engine.connectorSpace.page(connector, shard, size, token);
      return {
        items: page.objects.flatMap(({ object }) => orphanOf(object, stampAttribute, orphans) ?? []),
        continuation: page.continuation,
      };
    });
  }

  /** Walks the shards until the page is full. */
  async #scan<T>(
    limit: number,
    continuation: string | undefined,
    read: (
      shard: string,
      size: number,
      token: string | undefined,
    ) => Promise<{ items: readonly T[]; continuation: string | undefined }>,
  ): Promise<Page<T>> {
    let { shard, token } = decodeContinuation(continuation);
    const items: T[] = [];
    for (let pages = 0; ; pages++) {
      const page = await read(shard, Math.min(1000, limit - items.length), token);
      items.push(...page.items);
      token = page.continuation;
      if (token === undefined) {
        const next = shards[shards.indexOf(shard) + 1];
        if (next === undefined) return { items };
        shard = next;
      }
      if (items.length >= limit || pages >= pagesPerRequest * shards.length) {
        return { items, continuation: encodeContinuation(shard, token) };
      }
    }
  }

  // ---- metaverse -----------------------------------------------------------------------------------------------

  async metaverse(
    clauses: readonly MetaverseClause[],
    limit: number,
    continuation?: string,
  ): Promise<Page<object>> {
    const { metaverse } = this.#engine;
    const wanted = ({ object }: StoredMetaverseObject) =>
      !object.deleted && clauses.every((clause) => meetsClause(object, clause));
    const indexed = clauses.find(
      ({ operator, attribute }) =>
        operator === "equals" &&
        [...this.#engine.configuration.metaverse.values()].every(({ attributes }) => {
          const found = attributes.get(attribute);
          return found === undefined || (found.indexed && found.type === "string");
        }),
    );
    if (indexed !== undefined && continuation === undefined) {
      const found = await metaverse.findByIndex(indexed.attribute, indexed.value ?? "", { max: limit });
      if (found !== undefined) {
        return {
          items: await Promise.all(found.filter(wanted).map(({ object }) => this.#metaverseItem(object))),
        };
      }
    }
    return this.#scan(limit, continuation, async (shard, size, token) => {
      const page = await metaverse.page(shard, size, token);
      const items = await Promise.all(
        page.objects.filter(wanted).map(({ object }) => this.#metaverseItem(object)),
      );
      return { items, continuation: page.continuation };
    });
  }

  async #metaverseItem(object: MetaverseObject) {
    const linked = await this.#linked(object);
    const values = Object.fromEntries(
      Object.entries(object.attributes).map(([name, { value }]) => [name, value]),
    );
    return {
      id: object.id,
      objectType: object.objectType,
      attributes: attributesToJson(values),
      connectors: linked.map(({ object: one }) => ({
        connector: one.connector,
        id: one.id,
        anchor: one.anchor,
        dn: one.dn,
      })),
    };
  }

  async #linked(object: MetaverseObject): Promise<Stored[]> {
    const found = await Promise.all(
      object.connectors.map(({ connector, id }) => this.#engine.connectorSpace.get(connector, id)),
    );
    return found.filter((one) => one !== undefined);
  }

  /** With every value that was offered for an attribute: who offered it, by which rule, and whether it won. */
  async metaverseObject(id: string): Promise<object | null> {
    if (!/^[0-9a-f]{32}$/.test(id)) return null;
    const stored = await this.#engine.metaverse.get(id);
    if (stored === undefined || stored.object.deleted) return null;
    const { object } = stored;
    const nowMs = this.#engine.options.clock.now();
    const rules = await this.#engine.activeIfItChecks();
    // Without rules that can be asked nothing is offered: what stands there is told still, with where it came from.
    const linked = rules === null ? [] : (await this.#linked(object)).map((one) => one.object);
    const lineage = lineageOf(object, linked, rules ?? this.#engine.configuration, nowMs);
    const hold = await this.#engine.holds.get(id, isoTime(nowMs));
    return { ...(await this.#metaverseItem(object)), lineage, hold };
  }
}

function expectedToJson(expected: NonNullable<ConnectorSpaceObject["unconfirmed"]>["expected"]) {
  return Object.fromEntries(
    Object.entries(expected).map(([name, value]) => [
      name,
      value === null ? null : attributesToJson({ value }).value,
    ]),
  );
}

function errorToJson({ retry: _, refusal: __, ...error }: ObjectError, retry: ObjectError["retry"]) {
  if (retry === undefined) return error;
  return retry.at === null ? { ...error, quarantined: true } : { ...error, retryAt: retry.at };
}

/** A run as the API shows it: without what only the protocol needs. */
function publicRun({ currentStep: _, advancedBy: __, stopRequested, ...run }: Run) {
  return { ...run, ...(stopRequested && run.endedAt === null ? { stopRequested } : {}) };
}

export function objectSummary(object: ConnectorSpaceObject) {
  return {
    id: object.id,
    connector: object.connector,
    objectType: object.objectType,
    anchor: object.anchor,
    dn: object.dn,
    state: stateOf(object),
    metaverseId: object.metaverseId,
    pendingImport: object.pendingImport?.change ?? null,
    pendingExport: (object.escrow ?? object.pendingExport)?.change ?? null,
    unconfirmedExport: object.unconfirmed?.change ?? null,
    errorCode: object.error?.code ?? null,
  };
}

function encodeContinuation(shard: string, token: string | undefined): string {
  return Buffer.from(JSON.stringify([shard, token ?? null])).toString("base64url");
}

function decodeContinuation(continuation: string | undefined): { shard: string; token: string | undefined } {
  if (continuation === undefined) return { shard: shards[0]!, token: undefined };
  try {
    const [shard, token] = JSON.parse(Buffer.from(continuation, "base64url").toString("utf8"));
    if (shards.includes(shard) && (token === null || typeof token === "string"))
      return { shard, token: token ?? undefined };
  } catch {
    // not JSON: the same answer as for any other foreign text
  }
  throw new BadContinuation();
}
