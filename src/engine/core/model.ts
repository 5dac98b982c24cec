import type { Attributes, AttributeValue } from "./values.ts";

/**
 * Why a connected object is no longer offered by its source, or no longer wanted (DESIGN: absence is a state):
 * deleted there, once for good or not; of another kind than what is wanted; or of no group that is allowed in.
 */
export type Absence = "softDeleted" | "deleted" | "outOfScope" | "notAllowed";

/** One whole object as a connector sees it. */
export interface Image {
  readonly objectType: string;
  readonly dn: string;
  readonly attributes: Attributes;
}

/** Imported and staged, not yet synchronised. `image` is whole, never a difference; null for a delete. */
export interface PendingImport {
  readonly change: "add" | "update" | "delete" | "deleteAdd";
  readonly image: Image | null;
}

/** One attribute of a pending export. Absent `before` or `after` means the attribute has no value then. */
export interface AttributeChange {
  readonly name: string;
  readonly before?: AttributeValue;
  readonly after?: AttributeValue;
  /** The name of the rule that wants it. */
  readonly rule: string;
}

/** Decided by synchronisation, not yet sent. `newDn` is a rename or a move. */
export interface PendingExport {
  readonly change: "add" | "update" | "delete";
  readonly newDn?: string;
  readonly attributes: readonly AttributeChange[];
  /** The rule (and for a delete the cause) in words, for the plan and the history. */
  readonly reason: string;
}

/** Being sent; after a crash the outcome is unknown until the directory has been read. */
export interface EscrowedExport extends PendingExport {
  readonly runId: string;
}

/** Sent, not yet seen again by an import. Write-only attributes never stand here. */
export interface UnconfirmedExport {
  readonly change: "add" | "update" | "delete";
  readonly newDn?: string;
  /** The value expected in the next import; null: expected to be absent. */
  readonly expected: Readonly<Record<string, AttributeValue | null>>;
}

/** The last failure of one object in one kind of work; kept until the work succeeds. */
export interface ObjectError {
  readonly phase: "import" | "synchronization" | "export";
  readonly code: string;
  readonly message: string;
  readonly rule?: string;
  readonly attribute?: string;
  /** ISO 8601. */
  readonly firstOccurred: string;
  readonly retryCount: number;
  /** Where in a rules extension an exception was thrown. */
  readonly stack?: string;
  /** Of a refused export: when it is tried again. Without it the next export does. */
  readonly retry?: ExportRetry;
  /** Of an import or a synchronisation: the refused export that stands behind it. */
  readonly refusal?: ObjectError;
}

/** A refused change rests; a change that differs from it does not. */
export interface ExportRetry {
  /** `exportDigest` of the change that was refused. */
  readonly digest: string;
  /** ISO 8601, no earlier; null: quarantined, until somebody lets it go. */
  readonly at: string | null;
}

/**
 * Our copy of one object of one connected directory.
 *
 *   metaverseId ≠ null                   a connector
 *   metaverseId = null                   a disconnector, `disconnector` says of which kind
 *   anchor = null                        an export object: provisioned, never seen in the directory
 *   pendingImport?.image ?? synchronized the object as the last import saw it
 */
export interface ConnectorSpaceObject {
  readonly id: string;
  readonly connector: string;
  readonly objectType: string;
  readonly anchor: string | null;
  readonly dn: string;
  readonly synchronized: Image | null;
  readonly pendingImport: PendingImport | null;
  readonly pendingExport: PendingExport | null;
  readonly escrow: EscrowedExport | null;
  readonly unconfirmed: UnconfirmedExport | null;
  readonly metaverseId: string | null;
  /** Intent of a link that is not finished (commit order, DESIGN section 4). */
  readonly linking: string | null;
  readonly disconnector: "normal" | "explicit" | "filtered";
  /** Joined by hand: immune to scope. */
  readonly explicitConnector: boolean;
  /**
   * Set while the source no longer offers the object but its retention is not over. `since` is ISO 8601.
   * `byRules`: the source offers it still, but a synchronisation found that changed rules have let go of it.
   */
  readonly absence: { readonly kind: Absence; readonly since: string; readonly byRules?: true } | null;
  /**
   * Of an account that belongs to nobody, where the connector does something about such: since when, and since when
   * imports show it disabled. ISO 8601.
   */
  readonly orphan: { readonly since: string; readonly disabledSince: string | null } | null;
  /** The bits that the rules last wanted in attributes with owned bits; tells a hand-made change from our own. */
  readonly wantedBits: Readonly<Record<string, bigint>>;
  /** Whether an export of ours has reached it since it was linked; the first one into a joined object adopts it. */
  readonly exported: boolean;
  /** By outbound rule that can let go of the object: the attributes it gives a value, recalled when it does (R11). */
  readonly recallable: Readonly<Record<string, readonly string[]>>;
  readonly error: ObjectError | null;
}

/** A value of the metaverse object with its lineage. */
export interface MetaverseValue {
  readonly value: AttributeValue;
  readonly connector: string;
  readonly rule: string;
  readonly precedence: number;
  /** ISO 8601; when the value last changed. */
  readonly since: string;
}

export interface MetaverseObject {
  readonly id: string;
  readonly objectType: string;
  readonly attributes: Readonly<Record<string, MetaverseValue>>;
  readonly connectors: readonly { readonly connector: string; readonly id: string }[];
  /** A tombstone: deleted, but not all of its connectors have been dealt with. No match for joins. */
  readonly deleted: boolean;
}

/** An object that is about to be linked, without what was to be done because it belonged to nobody. */
export function unclaimed(object: ConnectorSpaceObject): ConnectorSpaceObject {
  return object.metaverseId === null ? { ...object, orphan: null, pendingExport: null } : object;
}

/** The object as the last import saw it; null when it never did, or saw it deleted. */
export function importedImage(object: ConnectorSpaceObject): Image | null {
  return object.pendingImport === null ? object.synchronized : object.pendingImport.image;
}

/** The object's image as the directory will show it once the unconfirmed export has been imported. */
export function expectedImage(object: ConnectorSpaceObject): Image | null {
  const image = importedImage(object);
  const { unconfirmed } = object;
  if (unconfirmed === null || unconfirmed.change === "delete") return image;
  const attributes: Record<string, AttributeValue> = { ...(image?.attributes ?? {}) };
  for (const [name, value] of Object.entries(unconfirmed.expected)) {
    if (value === null) delete attributes[name];
    else attributes[name] = value;
  }
  return {
    objectType: image?.objectType ?? object.objectType,
    dn: unconfirmed.newDn ?? image?.dn ?? object.dn,
    attributes,
  };
}

/** A connector space object with defaults; the caller names what is known. */
export function newConnectorSpaceObject(
  known: Pick<ConnectorSpaceObject, "id" | "connector" | "objectType" | "anchor" | "dn"> &
    Partial<ConnectorSpaceObject>,
): ConnectorSpaceObject {
  return {
    synchronized: null,
    pendingImport: null,
    pendingExport: null,
    escrow: null,
    unconfirmed: null,
    metaverseId: null,
    linking: null,
    disconnector: "normal",
    explicitConnector: false,
    absence: null,
    orphan: null,
    wantedBits: {},
    exported: false,
    recallable: {},
    error: null,
    ...known,
  };
}
