import type { Absence, AttributeChange, Image } from "../core/model.ts";
import type { AttributeType, Syntax } from "../core/values.ts";

/** One attribute of one object type as the directory's schema has it. */
export interface SchemaAttribute {
  readonly name: string;
  readonly type: AttributeType;
  readonly multiValued: boolean;
  /** How the directory compares values; `caseIgnore` unless said. */
  readonly syntax?: Syntax;
  /** The directory sets it; a flow into it is a configuration mistake. */
  readonly readOnly?: boolean;
  /** Never comes back in an import (passwords), so it is left out of the confirmation. */
  readonly writeOnly?: boolean;
  /** The directory replaces what is written (pwdLastSet: -1 becomes the time), so no import can confirm it. */
  readonly neverConfirmed?: boolean;
}

export interface ObjectTypeSchema {
  readonly name: string;
  readonly attributes: ReadonlyMap<string, SchemaAttribute>;
}

export interface ConnectorCapabilities {
  readonly deltaImport: boolean;
  readonly export: boolean;
  /** The most changes that `exportBatch` takes at once. */
  readonly exportBatchMax: number;
  /** The longest that one write may take, in milliseconds; no write is begun when less of the lease is left. */
  readonly exportTimeoutMs: number;
  /** `exact` when anchors or DNs differ by case. */
  readonly dnSyntax: "dn" | "exact";
}

/** Opaque to everyone but the connector; may hold tokens, so it is stored and never logged. */
export type Cursor = string;

export type ImportStart =
  /** Everything in scope. */
  | { readonly kind: "full" }
  /** What changed since the watermark of an earlier import. */
  | { readonly kind: "delta"; readonly watermark: Cursor }
  /** Goes on after the page whose `resumeAt` this is, in this or another process. */
  | { readonly kind: "resume"; readonly cursor: Cursor };

export type ImportEntry =
  /** The whole object with all selected attributes, whatever part of it changed. */
  | { readonly kind: "object"; readonly anchor: string; readonly image: Image }
  /** The source says that it is gone, or has left the scope. Unknown anchors are fine. */
  | { readonly kind: "absent"; readonly anchor: string; readonly absence: Absence }
  /** One object could not be read; the others go on. `code` is one of SEMANTICS 2.11 (discovery). */
  | {
      readonly kind: "error";
      readonly anchor?: string;
      readonly dn?: string;
      readonly code: string;
      readonly message: string;
    };

export interface ImportPage {
  readonly entries: readonly ImportEntry[];
  /** Where another process goes on after this page; null on the last one. */
  readonly resumeAt: Cursor | null;
  /**
   * Only on the last page, and only when the chain of pages ended as it should.
   * `watermark`: for the next delta import. `sourceCount`: the source's own count of objects in scope, if it has one.
   * `deletionsUnseen`: only after a delta import; the source could not show deletions (the account may not read
   * them), so the engine must compare its population with `listAnchors`.
   */
  readonly complete?: {
    readonly watermark: Cursor;
    readonly sourceCount?: number;
    readonly deletionsUnseen?: true;
  };
}

/** What a direct look says of an object that a listing did not show. */
export type AbsenceVerdict =
  | { readonly kind: "gone"; readonly absence: Absence }
  /** It is there: the listing was short, or it changed meanwhile. */
  | { readonly kind: "present"; readonly image: Image }
  /** It lives, outside the connector's scope: left alone, and nothing is created in its place. */
  | { readonly kind: "movedOutOfScope"; readonly dn: string };

export interface ExportChange {
  readonly id: string;
  readonly objectType: string;
  readonly change: "add" | "update" | "delete";
  /** Null for an add. */
  readonly anchor: string | null;
  /** Where the object is now; for an add, where it shall be. */
  readonly dn: string;
  /** Rename or move. */
  readonly newDn?: string;
  readonly attributes: readonly AttributeChange[];
  /** An earlier attempt may have reached the directory: read first, then send what is missing. */
  readonly outcomeUnknown: boolean;
}

export type ExportResult =
  | {
      readonly kind: "exported";
      readonly anchor: string;
      readonly dn: string;
      /** An add that met its own account (durable stamp) and sent only the difference. */
      readonly resumed?: boolean;
    }
  /** `code`: one of SEMANTICS 2.11 (export). `message` names the object and the remedy, and holds no secret. */
  | { readonly kind: "failed"; readonly code: string; readonly message: string };

/** How much one call may use. */
export interface ConnectorContext {
  /** Reports one line of progress or of trouble that was overcome; never with a value of a secret. */
  log(message: string): void;
  /** Aborted when the work has become pointless: the lease was lost. */
  readonly signal?: AbortSignal;
  /**
   * Asked right before each single write to the directory. False: the lease would not outlast the write, so none is
   * begun and the call ends with ConnectorError "unreachable"; what was sent before stays in escrow.
   */
  mayWrite?(): boolean;
}

/** One thing that was looked at before anything is trusted to work. */
export interface Finding {
  readonly what: string;
  readonly status: "ok" | "warning" | "failed";
  /** Whole sentences, with nothing secret. */
  readonly message: string;
  readonly remedy?: string;
}

/** What every connected directory offers. Each implementation passes `test/conformance/connector.ts`. */
export interface Connector {
  readonly capabilities: ConnectorCapabilities;

  /** The object types that are configured, with their selected attributes. @throws ConnectorError */
  schema(): Promise<readonly ObjectTypeSchema[]>;

  /**
   * A hash of what an import depends on (schema, filter, scope). If it differs from the one kept with the
   * watermark, the next import is full.
   */
  readonly scopeHash: string;

  /**
   * Reads the source page by page. In a full import the caller asks for one page while it stages the one before; in a
   * delta import it stages a page before it asks for the next.
   * Within one import an object may come more than once; the last entry counts.
   * @throws ConnectorError "watermark-expired": run a full import. "unreachable", "throttled": later.
   */
  importPages(start: ImportStart, context: ConnectorContext): AsyncIterable<ImportPage>;

  /**
   * The anchors of all objects in scope and nothing else, page by page: much cheaper than a full import. Offered
   * by every connector whose delta imports may end with `deletionsUnseen`. @throws ConnectorError
   */
  listAnchors?(context: ConnectorContext): AsyncIterable<readonly string[]>;

  /** Looks at objects directly, one verdict per anchor in the same order. @throws ConnectorError */
  readAbsent(anchors: readonly string[], context: ConnectorContext): Promise<readonly AbsenceVerdict[]>;

  /**
   * Sends at most `capabilities.exportBatchMax` changes. Sending one twice is safe.
   * @returns one result per change, in the same order; a refused object is a result, not a throw.
   * @throws ConnectorError "unreachable": the outcome is unknown, so the batch stays escrowed.
   */
  exportBatch(changes: readonly ExportChange[], context: ConnectorContext): Promise<readonly ExportResult[]>;

  /** One cheap call that proves that the directory answers and lets us in. @throws ConnectorError */
  ping(): Promise<void>;

  /**
   * Looks at all that is needed of the directory and more than a ping asks, and changes nothing. Without it a ping has
   * to do.
   * @param managedContainers DNs of the containers that the deployment's connectors write to
   */
  examine?(context: ConnectorContext, managedContainers: readonly string[]): AsyncIterable<Finding>;

  /** Of a directory with DNs: the containers that it writes to. */
  readonly containers?: readonly string[];

  close(): Promise<void>;
}

/** Named after the reaction that it wants. */
export type ConnectorErrorKind =
  /** No connection, dropped, timed out, certificate not trusted: the same work later. */
  | "unreachable"
  /** As unreachable, with the service's own delay if it gave one. */
  | "throttled"
  /** Wrong user, password or token: stop the step and say what to mend. */
  | "access-denied"
  /** The user is let in but may not do this: stop the step and say what to grant. */
  | "permission-denied"
  /** The watermark is no longer honoured: the next import is full. */
  | "watermark-expired"
  /** Settings that cannot work (unknown OU, bad filter): stop the step. */
  | "configuration";

/** The directory failed, not one object. The message names the setting to look at and holds no secret. */
export class ConnectorError extends Error {
  readonly kind: ConnectorErrorKind;
  readonly retryAfterMs: number | undefined;

  constructor(
    kind: ConnectorErrorKind,
    message: string,
    options: { cause?: unknown; retryAfterMs?: number } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "ConnectorError";
    this.kind = kind;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** What the configuration says of a connector, whatever its kind. */
export interface ConnectorDefinition {
  /** Also a part of table keys: letters, digits, `-` and `_`. */
  readonly name: string;
  readonly objectTypes: readonly { readonly name: string; readonly attributes: readonly string[] }[];
}
