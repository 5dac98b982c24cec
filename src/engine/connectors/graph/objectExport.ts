/** What exports of users and of groups have in common. */
import { setTimeout as sleep } from "node:timers/promises";
import type { AttributeChange } from "../../core/model.ts";
import { type AttributeValue, attributesEqual } from "../../core/values.ts";
import {
  type ConnectorContext,
  ConnectorError,
  type ExportChange,
  type ExportResult,
} from "../../ports/connector.ts";
import type { GraphClient } from "./client.ts";
import { refusal } from "./exportErrors.ts";
import { ReferenceExport } from "./exportReferences.ts";
import type { GraphAnswer } from "./failures.ts";
import type { GraphObject } from "./filter.ts";
import type { GraphObjectType } from "./objectTypes.ts";
import { withReferences } from "./references.ts";
import type { GraphSettings } from "./settings.ts";

export interface ExportScope {
  readonly client: GraphClient;
  readonly types: readonly GraphObjectType[];
  readonly settings: Pick<GraphSettings, "stampAttribute" | "invitationRedirectUrl" | "invitationMessage">;
  /** How long a change may take to reach the replica that answers a read. */
  readonly replicationMs: number;
  readonly context: ConnectorContext;
}

export type Exported = Extract<ExportResult, { kind: "exported" }>;

export function failed(code: string, message: string): Extract<ExportResult, { kind: "failed" }> {
  return { kind: "failed", code, message };
}

export type Write = (
  method: "POST" | "PATCH" | "PUT" | "DELETE",
  path: string,
  body?: unknown,
  headers?: Record<string, string>,
) => Promise<GraphAnswer>;

/**
 *   add     who has the stamp, or a name that only one may have?
 *             a foreign object ───────► cd-existing-object, with its id
 *             ours, out of scope ─────► cd-existing-object: left alone
 *             ours ──► the difference ► exported, resumed
 *             nobody ─────────────────► created, then what a creation cannot carry
 *   update  read; gone or out of scope ─► cd-missing-object; changed by others ─► cd-error; otherwise the difference
 *   delete  read; gone ─► exported; out of scope ─► left alone; otherwise DELETE
 */
export abstract class ObjectExport {
  protected readonly scope: ExportScope;
  protected readonly type: GraphObjectType;
  protected readonly change: ExportChange;

  constructor(scope: ExportScope, type: GraphObjectType, change: ExportChange) {
    this.scope = scope;
    this.type = type;
    this.change = change;
  }

  run(): Promise<ExportResult> {
    const { change, newDn, dn } = this.change;
    if (newDn !== undefined && newDn !== dn) {
      const message = `${dn}: the name of a ${this.type.name} of Entra is its id, which never changes. Let the flow to dn be initial only.`;
      return Promise.resolve(failed("modify-naming-attribute", message));
    }
    switch (change) {
      case "add":
        return this.#add();
      case "update":
        return this.#update();
      case "delete":
        return this.#delete();
    }
  }

  /** The query of a read of everything that a change is compared with. */
  protected abstract readonly query: string;

  /** What there is already: undefined when nobody has what this object wants. */
  protected abstract meetHolders(): Promise<ExportResult | undefined>;

  protected abstract create(): Promise<ExportResult>;

  // ---- add, update, delete -------------------------------------------------------------------------------------

  async #add(): Promise<ExportResult> {
    const met =
      (await this.meetHolders()) ?? (this.change.outcomeUnknown ? await this.meetLater() : undefined);
    return met ?? this.create();
  }

  protected async meetLater(): Promise<ExportResult | undefined> {
    await this.wait();
    return this.meetHolders();
  }

  /** An object of ours that is there already: the difference is sent. */
  protected async resume(own: GraphObject, stamp: string): Promise<ExportResult> {
    const { dn, attributes } = this.change;
    const { name, filter, attributes: selected } = this.type;
    if (!filter.matches(own)) {
      return failed(
        "cd-existing-object",
        `${dn}: this ${name} exists as ${String(own.id)}, outside of the connector's filter. It is left alone; widen the filter, or clear its ${stamp}.`,
      );
    }
    const [whole] = await withReferences(this.scope.client, this.type, [own], this.scope.context);
    if (whole === undefined) return this.#missing();
    const present = selected.attributesOf(whole);
    const open = attributes.filter((one) => !attributesEqual(present[one.name], one.after, "exact"));
    const writable = open.filter(
      (one) => this.#attribute(one.name).readOnly !== true && one.name !== "uniqueName",
    );
    return this.patched(idOf(own), writable, present, { resumed: true });
  }

  async #update(): Promise<ExportResult> {
    const { dn, attributes } = this.change;
    const object = await this.#read();
    if (object === undefined) return this.#missing();
    if (!this.type.filter.matches(object)) return this.#outOfScope();
    const present = this.type.attributes.attributesOf(object);
    const open = attributes.filter(({ name, after }) => !attributesEqual(present[name], after, "exact"));
    const stale = open.find(
      // Who joins and who leaves is sent one by one, whoever else came or went meanwhile.
      ({ name, before }) => !this.#isList(name) && !attributesEqual(present[name], before),
    );
    if (stale !== undefined) {
      return failed(
        "cd-error",
        `${dn}: somebody else has changed ${stale.name}. It is not overwritten; the next import and synchronisation decide anew.`,
      );
    }
    return this.patched(idOf(object), open, present);
  }

  async #delete(): Promise<ExportResult> {
    const object = await this.#read();
    if (object === undefined) return this.done(this.change.anchor ?? "");
    if (!this.type.filter.matches(object)) return this.#outOfScope();
    const id = idOf(object);
    const answer = await this.write("DELETE", `${this.type.collection}/${id}`);
    return answer.status < 300 || answer.status === 404 ? this.done(id) : refusal(answer, this.change.dn);
  }

  async #read(): Promise<GraphObject | undefined> {
    const { client, context } = this.scope;
    const id = encodeURIComponent(this.change.anchor ?? "");
    const [answer] = await client.getMany([`${this.type.collection}/${id}?${this.query}`], context);
    if (answer?.status !== 200) return undefined;
    const [whole] = await withReferences(client, this.type, [answer.body as GraphObject], context);
    return whole;
  }

  #missing(): ExportResult {
    return failed(
      "cd-missing-object",
      `${this.change.dn}: it is no longer in the tenant. The next import and synchronisation decide anew.`,
    );
  }

  #outOfScope(): ExportResult {
    return failed(
      "cd-missing-object",
      `${this.change.dn}: it is outside of the connector's filter now and is left alone. Widen the filter if it shall be managed.`,
    );
  }

  // ---- for both types ------------------------------------------------------------------------------------------

  /** Sends properties in one request, then relationships one by one. */
  protected async patched(
    id: string,
    changes: readonly AttributeChange[],
    present: Readonly<Record<string, AttributeValue>>,
    more: { readonly resumed?: true } = {},
  ): Promise<ExportResult> {
    const properties = changes.filter(({ name }) => !this.isReference(name));
    if (properties.length > 0) {
      const answer = await this.writeToNew(id, this.body(properties));
      if (answer.status >= 300) return refusal(answer, this.change.dn);
    }
    return this.linked(id, changes, present, more);
  }

  /** Sends what has changed of relationships. */
  protected async linked(
    id: string,
    changes: readonly AttributeChange[],
    present: Readonly<Record<string, AttributeValue>>,
    more: { readonly resumed?: true } = {},
  ): Promise<ExportResult> {
    const links = changes.filter(({ name }) => this.isReference(name));
    const references = new ReferenceExport({
      write: this.write,
      linkTo: (other) => this.scope.client.url(`/directoryObjects/${encodeURIComponent(other)}`),
      path: `${this.type.collection}/${id}`,
      dn: this.change.dn,
      isNew: this.change.change === "add",
      wait: () => this.wait(),
    });
    for (const link of links) {
      const problem = await references.send(this.#attribute(link.name), link, present[link.name]);
      if (problem !== undefined) return problem;
    }
    return { ...this.done(id), ...more };
  }

  /** A PATCH; the replica that is asked may not know a new object yet. */
  protected async writeToNew(id: string, body: unknown): Promise<GraphAnswer> {
    for (let attempt = 1; ; attempt++) {
      const answer = await this.write("PATCH", `${this.type.collection}/${id}`, body);
      if (answer.status !== 404 || attempt === 3 || this.change.change !== "add") return answer;
      await this.wait();
    }
  }

  protected done(id: string): Exported {
    return { kind: "exported", anchor: id, dn: id };
  }

  protected body(changes: readonly AttributeChange[]): Record<string, unknown> {
    const isAdd = this.change.change === "add";
    return this.type.attributes.bodyOf(
      changes.filter(({ name, after }) => !this.isReference(name) && (!isAdd || after !== undefined)),
    );
  }

  protected isReference(name: string): boolean {
    return this.#attribute(name).type === "reference";
  }

  #isList(name: string): boolean {
    return this.isReference(name) && this.#attribute(name).multiValued;
  }

  #attribute(name: string) {
    const attribute = this.type.attributes.schema.attributes.get(name);
    if (attribute === undefined) throw new TypeError(`${name} is not an attribute of the connector`);
    return attribute;
  }

  protected wanted(name: string): AttributeValue | undefined {
    return this.change.attributes.find((one) => one.name === name)?.after;
  }

  /** Every write goes through here. @throws ConnectorError */
  protected readonly write: Write = (method, path, body, headers) => {
    const { client, context } = this.scope;
    if (context.mayWrite?.() === false) {
      throw new ConnectorError(
        "unreachable",
        "The time for this batch of exports is over; the rest is sent later.",
      );
    }
    return client.send(method, path, body, context, headers);
  };

  protected async wait(): Promise<void> {
    const { signal } = this.scope.context;
    await sleep(this.scope.replicationMs, undefined, signal === undefined ? {} : { signal });
  }
}

export function idOf(object: unknown): string {
  const { id } = (object ?? {}) as { readonly id?: unknown };
  if (typeof id === "string" && id !== "") return id;
  throw new ConnectorError(
    "unreachable",
    "Graph answered a write without the object's id. Check GRAPH_BASE_URL.",
  );
}

/** A text within a filter or a key. */
export function quoted(text: string): string {
  return encodeURIComponent(`'${text.replaceAll("'", "''")}'`);
}
