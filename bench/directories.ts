/**
 * A tenant of any size and the directory with its guests' accounts, both made up as they are asked for: nothing of what
 * is measured is theirs.
 */
import { createHash } from "node:crypto";
import type { Image } from "../src/engine/core/model.ts";
import type { Attributes, AttributeType, AttributeValue } from "../src/engine/core/values.ts";
import type {
  AbsenceVerdict,
  Connector,
  ConnectorCapabilities,
  ExportChange,
  ExportResult,
  ImportEntry,
  ImportPage,
  ImportStart,
  ObjectTypeSchema,
} from "../src/engine/ports/connector.ts";

export const guestOu = "OU=Guests,DC=corp,DC=example";

const guestAttributes: Readonly<Record<string, AttributeType>> = {
  id: "string",
  userPrincipalName: "string",
  displayName: "string",
  givenName: "string",
  surname: "string",
  mail: "string",
  userType: "string",
  accountEnabled: "boolean",
  externalUserState: "string",
};

const accountAttributes: Readonly<Record<string, AttributeType>> = {
  cn: "string",
  objectGUID: "binary",
  objectSid: "binary",
  sAMAccountName: "string",
  userPrincipalName: "string",
  displayName: "string",
  givenName: "string",
  sn: "string",
  mail: "string",
  employeeType: "string",
  adminDescription: "string",
  userAccountControl: "integer",
  info: "string",
};

const guestId = (index: number) => `${index.toString(16).padStart(8, "0")}-b488-41db-9000-5d3a1f0c8e72`;

/** What all pages of one import have in common. */
interface Place {
  readonly full: boolean;
  /** How many entries were shown. */
  readonly from: number;
  /** Changes up to here are shown. */
  readonly high: number;
}

abstract class MadeUpDirectory implements Connector {
  abstract readonly capabilities: ConnectorCapabilities;
  readonly scopeHash = "made up";
  readonly #pageSize: number;
  readonly #attributes: Readonly<Record<string, AttributeType>>;
  /** Indices of changed objects in order. */
  readonly changes: number[] = [];

  constructor(pageSize: number, attributes: Readonly<Record<string, AttributeType>>) {
    this.#pageSize = pageSize;
    this.#attributes = attributes;
  }

  /** How many objects there are. */
  abstract readonly size: number;
  protected abstract entry(index: number): { readonly anchor: string; readonly image: Image };

  async schema(): Promise<readonly ObjectTypeSchema[]> {
    const attributes = Object.entries(this.#attributes).map(
      ([name, type]) => [name, { name, type, multiValued: false }] as const,
    );
    return [{ name: "user", attributes: new Map(attributes) }];
  }

  async *importPages(start: ImportStart): AsyncGenerator<ImportPage> {
    let place: Place =
      start.kind === "resume"
        ? JSON.parse(start.cursor)
        : {
            full: start.kind === "full",
            from: start.kind === "full" ? 0 : Number(start.watermark),
            high: this.changes.length,
          };
    for (;;) {
      const { full, from, high } = place;
      const end = full ? this.size : high;
      const to = Math.min(from + this.#pageSize, end);
      const entries: ImportEntry[] = [];
      for (let at = from; at < to; at++)
        entries.push({ kind: "object", ...this.entry(full ? at : this.changes[at]!) });
      if (to >= end) {
        const sourceCount = full ? { sourceCount: this.size } : {};
        yield { entries, resumeAt: null, complete: { watermark: String(high), ...sourceCount } };
        return;
      }
      place = { full, from: to, high };
      yield { entries, resumeAt: JSON.stringify(place) };
    }
  }

  async readAbsent(anchors: readonly string[]): Promise<readonly AbsenceVerdict[]> {
    return anchors.map(() => ({ kind: "gone", absence: "deleted" }));
  }

  abstract exportBatch(changes: readonly ExportChange[]): Promise<readonly ExportResult[]>;

  async ping(): Promise<void> {}
  async close(): Promise<void> {}
}

/** Guests, a page of 999 at a time as Graph lists them. */
export class Guests extends MadeUpDirectory {
  readonly capabilities: ConnectorCapabilities = {
    deltaImport: true,
    export: false,
    exportBatchMax: 0,
    exportTimeoutMs: 30_000,
    dnSyntax: "exact",
  };
  readonly size: number;
  readonly #renamed = new Map<number, number>();

  constructor(size: number) {
    super(999, guestAttributes);
    this.size = size;
  }

  rename(index: number): void {
    this.changes.push(index);
    this.#renamed.set(index, this.changes.length);
  }

  protected entry(index: number) {
    const id = guestId(index);
    const renamed = this.#renamed.get(index);
    return { anchor: id, image: { objectType: "user", dn: id, attributes: guestValues(id, index, renamed) } };
  }

  async exportBatch(): Promise<never> {
    throw new Error("Nothing is exported to Entra.");
  }
}

function guestValues(id: string, index: number, renamed: number | undefined): Attributes {
  return {
    id,
    userPrincipalName: `guest.number${index}_partner${index % 500}.example#EXT#@corp.example`,
    displayName: `Guest Number ${index} (Partner ${index % 500})${renamed === undefined ? "" : ` ${renamed}`}`,
    givenName: "Guest",
    surname: `Number ${index}`,
    mail: `guest.number${index}@partner${index % 500}.example`,
    userType: "Guest",
    accountEnabled: true,
    externalUserState: "Accepted",
  };
}

/** The guests' accounts: as they were added, and what was changed of them since. */
export class Accounts extends MadeUpDirectory {
  readonly capabilities: ConnectorCapabilities = {
    deltaImport: true,
    export: true,
    exportBatchMax: 128, // as the Active Directory connector has it
    exportTimeoutMs: 30_000,
    dnSyntax: "dn",
  };
  readonly #added: { readonly dn: string; attributes: Record<string, AttributeValue> }[] = [];
  readonly #byAnchor = new Map<string, number>();

  constructor() {
    super(1000, accountAttributes);
  }

  get size(): number {
    return this.#added.length;
  }

  protected entry(index: number) {
    const { dn, attributes } = this.#added[index]!;
    return { anchor: anchorOf(dn), image: { objectType: "user", dn, attributes: { ...attributes } } };
  }

  async exportBatch(changes: readonly ExportChange[]): Promise<readonly ExportResult[]> {
    return changes.map(({ change, anchor, dn, attributes }): ExportResult => {
      let index = anchor === null ? undefined : this.#byAnchor.get(anchor);
      if (change === "add") {
        const made = anchorOf(dn);
        const bytes = new Uint8Array(Buffer.from(made.replaceAll("-", ""), "hex"));
        const objectSid = new Uint8Array([1, 5, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, ...bytes]);
        index = this.#added.length;
        this.#added.push({
          dn,
          attributes: { cn: dn.slice(3, dn.indexOf(",")), objectGUID: bytes, objectSid },
        });
        this.#byAnchor.set(made, index);
      }
      if (index === undefined || change === "delete")
        return { kind: "failed", code: "cd-error", message: `${dn}: a ${change} is not measured.` };
      const object = this.#added[index]!;
      for (const { name, after } of attributes) {
        if (after === undefined) delete object.attributes[name];
        else if (name in accountAttributes) object.attributes[name] = after;
      }
      this.changes.push(index);
      return { kind: "exported", anchor: anchorOf(dn), dn };
    });
  }
}

/** An objectGUID that follows from the DN. */
function anchorOf(dn: string): string {
  const hex = createHash("sha256").update(dn).digest("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join(
    "-",
  );
}
