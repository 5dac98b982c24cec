/** Guests (or other users) of an Entra tenant, through Microsoft Graph. AADMA in the recipe's words. */
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import type { Absence } from "../../core/model.ts";
import type {
  AbsenceVerdict,
  Connector,
  ConnectorCapabilities,
  ConnectorContext,
  ConnectorDefinition,
  ExportChange,
  ExportResult,
  Finding,
  ImportEntry,
  ImportPage,
  ImportStart,
  ObjectTypeSchema,
} from "../../ports/connector.ts";
import { ConnectorError } from "../../ports/connector.ts";
import { GraphClient, notGraph } from "./client.ts";
import type { ImportCursor } from "./cursor.ts";
import {
  advanceGuard,
  newLoopGuard,
  parseCursor,
  parseWatermark,
  printCursor,
  printWatermark,
} from "./cursor.ts";
import { examineTenant } from "./examine.ts";
import { exportUsers } from "./export.ts";
import type { GraphUser, UserFilter } from "./filter.ts";
import { parseUserFilter } from "./filter.ts";
import type { GroupScope, Members } from "./membership.ts";
import { areMembers, readMembers } from "./membership.ts";
import type { RetryPolicy } from "./pipeline.ts";
import type { GraphSettings } from "./settings.ts";
import { certificateAuthorities } from "./settings.ts";
import { tokenSource } from "./token.ts";
import type { SelectedUserAttributes } from "./userSchema.ts";
import { selectUserAttributes } from "./userSchema.ts";

/** How patient the connector is; tests are less so. */
export interface GraphPatience {
  readonly retry: RetryPolicy;
  /** How long a change may take to reach the replica that answers a direct read. */
  readonly replicationMs: number;
}

const defaultPatience: GraphPatience = {
  retry: { attemptsMax: 6, budgetMs: 45_000, firstDelayMs: 500, delayMaxMs: 15_000 },
  replicationMs: 4_000,
};

interface Collection {
  readonly value: readonly GraphUser[];
  readonly nextLink: string | undefined;
  readonly deltaLink: string | undefined;
  readonly count: number | undefined;
}

/** What two direct reads, of the user and of the deleted items, say of an id. */
type Look =
  | { readonly kind: "present"; readonly user: GraphUser }
  | { readonly kind: "gone"; readonly absence: "softDeleted" | "deleted" };

/** An object id of the directory; anything else cannot be one and is not asked for. */
const objectId = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export class GraphConnector implements Connector {
  readonly capabilities: ConnectorCapabilities;
  readonly scopeHash: string;

  readonly #name: string;
  readonly #client: GraphClient;
  readonly #filter: UserFilter;
  /** Null: no groups limit the scope. */
  readonly #groups: GroupScope | null;
  readonly #attributes: SelectedUserAttributes;
  readonly #select: string;
  readonly #pageSize: number;
  readonly #replicationMs: number;
  readonly #settings: GraphSettings;

  /** @throws ConnectorError "configuration": unknown attribute, unsupported filter, no certificate. */
  constructor(
    definition: ConnectorDefinition,
    settings: GraphSettings,
    patience: GraphPatience = defaultPatience,
  ) {
    this.#name = definition.name;
    this.#settings = settings;
    this.capabilities = {
      deltaImport: true,
      export: settings.writable,
      exportBatchMax: settings.writable ? 40 : 0,
      exportTimeoutMs: 60_000,
      dnSyntax: "exact",
    };
    this.#filter = parseUserFilter(settings.filter);
    const { groups, transitiveMembers: transitive } = settings;
    if (groups.length > 0 && settings.writable) {
      throw new ConnectorError(
        "configuration",
        `Connector ${definition.name}: groups limit what is imported, and a user who is created belongs to none of them yet. Use groups or writable, not both.`,
      );
    }
    this.#groups = groups.length === 0 ? null : { groups, transitive };
    this.#attributes = selectUserAttributes(definition);
    const properties = new Set([...this.#attributes.properties, ...this.#filter.properties]);
    this.#select = [...properties].sort().join(",");
    this.#pageSize = settings.pageSize;
    this.#replicationMs = patience.replicationMs;
    this.scopeHash = createHash("sha256")
      .update(JSON.stringify([settings.baseUrl, this.#filter.odata, this.#select, this.#groups]))
      .digest("hex");
    this.#client = new GraphClient({
      baseUrl: settings.baseUrl,
      authorities: certificateAuthorities(settings.caCertificate),
      token: tokenSource(settings),
      retry: patience.retry,
    });
  }

  schema(): Promise<readonly ObjectTypeSchema[]> {
    return Promise.resolve([this.#attributes.schema]);
  }

  async *importPages(start: ImportStart, context: ConnectorContext): AsyncGenerator<ImportPage> {
    const members = this.#groups === null ? null : await readMembers(this.#client, this.#groups, context);
    let cursor: ImportCursor | null = await this.#firstCursor(start, members, context);
    while (cursor !== null) {
      const { page, next }: { page: ImportPage; next: ImportCursor | null } = await this.#page(
        cursor,
        members,
        context,
      );
      yield page;
      cursor = next;
    }
  }

  async readAbsent(
    anchors: readonly string[],
    context: ConnectorContext,
  ): Promise<readonly AbsenceVerdict[]> {
    const looks = await this.#look(anchors, context);
    const present = anchors.filter((anchor) => looks.get(anchor)!.kind === "present");
    const members =
      this.#groups === null ? null : await areMembers(this.#client, this.#groups, present, context);
    return anchors.map((anchor): AbsenceVerdict => {
      const look = looks.get(anchor)!;
      if (look.kind === "gone") return look;
      const absence = this.#absenceOf(anchor, look.user, members);
      if (absence !== null) return { kind: "gone", absence };
      return { kind: "present", image: this.#imageOf(anchor, look.user) };
    });
  }

  async exportBatch(
    changes: readonly ExportChange[],
    context: ConnectorContext,
  ): Promise<readonly ExportResult[]> {
    if (!this.#settings.writable) {
      throw new ConnectorError(
        "configuration",
        `Connector ${this.#name} only imports from Graph; set writable if it shall export.`,
      );
    }
    const stateful = [this.#select, this.#settings.stampAttribute, "externalUserState"].join(",").split(",");
    return exportUsers(
      {
        client: this.#client,
        attributes: this.#attributes,
        filter: this.#filter,
        select: [...new Set(stateful)].join(","),
        settings: this.#settings,
        replicationMs: this.#replicationMs,
        context,
      },
      changes,
    );
  }

  async ping(): Promise<void> {
    // One of the few reads that User.Read.All allows without more.
    await this.#collection(this.#client.url("/users?$top=1&$select=id"), { log: () => {} });
  }

  examine(context: ConnectorContext, managedContainers: readonly string[]): AsyncIterable<Finding> {
    const [client, settings] = [this.#client, this.#settings];
    return examineTenant({ client, settings, token: tokenSource(settings), managedContainers, context });
  }

  close(): Promise<void> {
    this.#client.close();
    return Promise.resolve();
  }

  /** The filter as a part of a query, or nothing. */
  get #filtered(): string {
    const { odata } = this.#filter;
    return odata === "" ? "" : `$filter=${encodeURIComponent(odata)}&`;
  }

  // ---- pages ---------------------------------------------------------------------------------------------------

  async #firstCursor(
    start: ImportStart,
    members: Members | null,
    context: ConnectorContext,
  ): Promise<ImportCursor> {
    const digest = members?.digest ?? null;
    switch (start.kind) {
      case "resume":
        return parseCursor(start.cursor);
      case "delta": {
        const watermark = parseWatermark(start.watermark, members !== null);
        if (watermark.members !== digest) {
          throw new ConnectorError(
            "watermark-expired",
            "Members have joined or left the connector's groups.",
          );
        }
        return {
          phase: "changes",
          next: watermark.link,
          watermark: null,
          members: digest,
          guard: newLoopGuard,
        };
      }
      case "full":
        return {
          phase: "users",
          next: this.#client.url(`/users?${this.#filtered}$select=${this.#select}&$top=${this.#pageSize}`),
          // Before the listing, so that what changes during it comes with the next delta import.
          watermark: await this.#latestDeltaLink(context),
          members: digest,
          guard: newLoopGuard,
        };
    }
  }

  /** With the `$select` of the later rounds: the token keeps it, and only the selected properties are tracked. */
  async #latestDeltaLink(context: ConnectorContext): Promise<string> {
    let next = this.#client.url(`/users/delta?$select=${this.#select}&$deltatoken=latest`);
    for (let guard = newLoopGuard; ; ) {
      guard = advanceGuard(guard, next);
      const { nextLink, deltaLink } = await this.#collection(next, context);
      if (deltaLink !== undefined) return deltaLink;
      if (nextLink === undefined) throw notGraph("a delta answer without a delta link");
      next = nextLink;
    }
  }

  async #page(
    cursor: ImportCursor,
    members: Members | null,
    context: ConnectorContext,
  ): Promise<{ page: ImportPage; next: ImportCursor | null }> {
    const guard = advanceGuard(cursor.guard, cursor.next);
    const collection = await this.#collection(cursor.next, context);
    const entries = await this.#entries(cursor.phase, collection.value, members, context);
    const next = this.#nextCursor(cursor, collection, guard);
    if (next !== null) return { page: { entries, resumeAt: printCursor(next) }, next };

    if (cursor.phase === "changes") {
      const watermark = printWatermark(collection.deltaLink!, cursor.members);
      return { page: { entries, resumeAt: null, complete: { watermark } }, next };
    }
    // The count knows of no groups.
    const sourceCount = members === null ? await this.#sourceCount(context) : undefined;
    const complete = {
      watermark: printWatermark(cursor.watermark!, cursor.members),
      ...(sourceCount === undefined ? {} : { sourceCount }),
    };
    return { page: { entries, resumeAt: null, complete }, next };
  }

  #nextCursor(cursor: ImportCursor, { nextLink, deltaLink }: Collection, guard: ImportCursor["guard"]) {
    if (nextLink !== undefined) return { ...cursor, next: nextLink, guard };
    switch (cursor.phase) {
      case "users":
        return {
          ...cursor,
          phase: "deletedUsers" as const,
          next: this.#client.url(
            `/directory/deletedItems/microsoft.graph.user?$select=id,userType&$top=${this.#pageSize}`,
          ),
          guard: newLoopGuard,
        };
      case "deletedUsers":
        return null;
      case "changes":
        if (deltaLink === undefined)
          throw notGraph("a delta answer with neither a next link nor a delta link");
        return null;
    }
  }

  #entries(
    phase: ImportCursor["phase"],
    value: readonly GraphUser[],
    members: Members | null,
    context: ConnectorContext,
  ): Promise<ImportEntry[]> | ImportEntry[] {
    switch (phase) {
      case "users":
        return value.map((user) => this.#userEntry(user, members));
      case "deletedUsers":
        return this.#deletedEntries(value);
      case "changes":
        return this.#changeEntries(value, members, context);
    }
  }

  /** Only the ids are taken: Entra mangles the names of deleted users. */
  #deletedEntries(value: readonly GraphUser[]): ImportEntry[] {
    // Members only cost rows; the engine passes over ids that it does not know.
    return value
      .filter(({ userType }) => this.#filter.mayMatch({ userType }))
      .map((user) => {
        const anchor = anchorOf(user);
        return anchor === undefined ? missingAnchor : { kind: "absent", anchor, absence: "softDeleted" };
      });
  }

  /**
   * A delta round gives parts of objects, replays and duplicates, so it is only told from it *who* changed; what
   * they look like is read. A read that contradicts the round may come from a replica that lags behind: it is done
   * once more after a while, and then believed.
   */
  async #changeEntries(
    value: readonly GraphUser[],
    members: Members | null,
    context: ConnectorContext,
  ): Promise<ImportEntry[]> {
    const entries: ImportEntry[] = [];
    const changed = new Map<string, GraphUser>();
    for (const change of value) {
      const anchor = anchorOf(change);
      if (anchor === undefined) entries.push(missingAnchor);
      // Of several the last one counts; but an id that was deleted for good never comes back.
      else if (removalOf(changed.get(anchor)) !== "deleted") changed.set(anchor, change);
    }

    const open: string[] = [];
    for (const [anchor, change] of changed) {
      if (removalOf(change) === "deleted") entries.push({ kind: "absent", anchor, absence: "deleted" });
      else open.push(anchor);
    }
    const looks = await this.#look(open, context);
    const contradicted = open.filter((anchor) => contradicts(changed.get(anchor)!, looks.get(anchor)!));
    if (contradicted.length > 0) {
      context.log(`${contradicted.length} users differ from what changed; they are read again.`);
      const { signal } = context;
      await sleep(this.#replicationMs, undefined, signal === undefined ? {} : { signal });
      for (const [anchor, look] of await this.#look(contradicted, context)) looks.set(anchor, look);
    }
    for (const [anchor, look] of looks) {
      entries.push(
        look.kind === "gone"
          ? { kind: "absent", anchor, absence: look.absence }
          : this.#userEntry(look.user, members),
      );
    }
    return entries;
  }

  #userEntry(user: GraphUser, members: Members | null): ImportEntry {
    const anchor = anchorOf(user);
    if (anchor === undefined) return missingAnchor;
    const absence = this.#absenceOf(anchor, user, members);
    if (absence !== null) return { kind: "absent", anchor, absence };
    try {
      return { kind: "object", anchor, image: this.#imageOf(anchor, user) };
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      return { kind: "error", anchor, dn: anchor, code: "invalid-attribute-value", message: error.message };
    }
  }

  /** Why a user who is there is none of ours; null for one of ours. */
  #absenceOf(
    anchor: string,
    user: GraphUser,
    members: Pick<Members, "has"> | null,
  ): "outOfScope" | "notAllowed" | null {
    // Whoever is no longer a guest has left, and is not merely elsewhere.
    if (!this.#filter.matches(user)) return "outOfScope";
    return members === null || members.has(anchor) ? null : "notAllowed";
  }

  #imageOf(anchor: string, user: GraphUser) {
    return {
      objectType: this.#attributes.schema.name,
      dn: anchor,
      attributes: this.#attributes.attributesOf(user),
    };
  }

  // ---- reads ---------------------------------------------------------------------------------------------------

  /** Every id once: as a user, and where there is none as a deleted item. */
  async #look(ids: readonly string[], context: ConnectorContext): Promise<Map<string, Look>> {
    const looks = new Map<string, Look>(ids.map((id) => [id, { kind: "gone", absence: "deleted" }]));
    const possible = [...looks.keys()].filter((id) => objectId.test(id));
    const users = await this.#client.getMany(
      possible.map((id) => `/users/${id}?$select=${this.#select}`),
      context,
    );
    const missing: string[] = [];
    for (const [index, id] of possible.entries()) {
      const { status, body } = users[index]!;
      if (status === 404) missing.push(id);
      else looks.set(id, { kind: "present", user: body as GraphUser });
    }
    const deletedItems = await this.#client.getMany(
      missing.map((id) => `/directory/deletedItems/${id}`),
      context,
    );
    for (const [index, id] of missing.entries()) {
      if (deletedItems[index]!.status === 200) looks.set(id, { kind: "gone", absence: "softDeleted" });
    }
    return looks;
  }

  /**
   * Asked on its own: `$count` needs ConsistencyLevel eventual, which answers from an index that lags behind the
   * directory, and the listing shall not. https://learn.microsoft.com/graph/aad-advanced-queries
   */
  async #sourceCount(context: ConnectorContext): Promise<number | undefined> {
    const url = this.#client.url(`/users?${this.#filtered}$count=true&$top=1&$select=id`);
    return (await this.#collection(url, context, { ConsistencyLevel: "eventual" })).count;
  }

  async #collection(
    url: string,
    context: ConnectorContext,
    headers: Record<string, string> = {},
  ): Promise<Collection> {
    const body = (await this.#client.get(url, context, headers)) as
      | Record<string, unknown>
      | null
      | undefined;
    // An object without `value` must not pass for an empty page, which would end the listing early.
    if (!Array.isArray(body?.value)) throw notGraph("a page without `value`");
    const { value } = body;
    if (!value.every((item) => typeof item === "object" && item !== null))
      throw notGraph("a page of non-objects");
    const nextLink = linkOf(body, "@odata.nextLink");
    const deltaLink = linkOf(body, "@odata.deltaLink");
    const count = body["@odata.count"];
    return { value, nextLink, deltaLink, count: typeof count === "number" ? count : undefined };
  }
}

function linkOf(body: Record<string, unknown>, name: string): string | undefined {
  const link = body[name];
  if (link === undefined || link === null) return undefined;
  if (typeof link !== "string" || !URL.canParse(link)) throw notGraph(`an ${name} that is no link`);
  return link;
}

const missingAnchor: ImportEntry = {
  kind: "error",
  code: "missing-anchor-component",
  message: "Graph gave a user without an id.",
};

function anchorOf(user: GraphUser): string | undefined {
  return typeof user.id === "string" && user.id !== "" ? user.id : undefined;
}

/** https://learn.microsoft.com/graph/delta-query-overview: `changed` can be restored, `deleted` cannot. */
function removalOf(change: GraphUser | undefined): Absence | undefined {
  const removed = change?.["@removed"] as { reason?: unknown } | null | undefined;
  if (removed === undefined || removed === null) return undefined;
  return removed.reason === "deleted" ? "deleted" : "softDeleted";
}

/** Whether a direct read shows another state than the delta round reported. */
function contradicts(change: GraphUser, look: Look): boolean {
  const removal = removalOf(change);
  if (removal !== undefined) return look.kind !== "gone" || look.absence !== removal;
  if (look.kind === "gone") return true;
  return Object.entries(change).some(
    ([name, value]) =>
      name in look.user &&
      !name.startsWith("@") &&
      !isDeepStrictEqual(comparable(value), comparable(look.user[name])),
  );
}

/** Null, an empty list and no value are one; a list has no order. */
function comparable(value: unknown): unknown {
  if (!Array.isArray(value)) return value ?? null;
  return value.length === 0 ? null : value.map((item) => JSON.stringify(item)).sort();
}
