/** The controls that the directory knows: how requests ask for them and how answers carry them. */
import { Ber, BerReader, BerWriter } from "ldapts";
import { LdapError, resultCode } from "./errors.ts";
import type { RequestControl, ResponseControl } from "./protocol.ts";

const oid = {
  paged: "1.2.840.113556.1.4.319",
  showDeleted: "1.2.840.113556.1.4.417",
  showRecycled: "1.2.840.113556.1.4.2064",
  showDeactivatedLinks: "1.2.840.113556.1.4.2065",
  dirSync: "1.2.840.113556.1.4.841",
  extendedDn: "1.2.840.113556.1.4.529",
  domainScope: "1.2.840.113556.1.4.1339",
  permissiveModify: "1.2.840.113556.1.4.1413",
  treeDelete: "1.2.840.113556.1.4.805",
  securityDescriptorFlags: "1.2.840.113556.1.4.801",
  lazyCommit: "1.2.840.113556.1.4.619",
} as const;

export const supportedControls: readonly string[] = Object.values(oid);

export interface DirSyncRequest {
  /** The caller's own rights decide what is seen, and no replication right is needed. */
  readonly objectSecurity: boolean;
  readonly maxBytes: number;
  readonly cookie: Buffer;
}

export interface Controls {
  readonly paged: { readonly size: number; readonly cookie: Buffer } | undefined;
  readonly showDeleted: boolean;
  readonly dirSync: DirSyncRequest | undefined;
  /** `hex` or `text`: how GUID and SID stand in front of each DN. */
  readonly extendedDn: "hex" | "text" | undefined;
  readonly domainScope: boolean;
  readonly permissiveModify: boolean;
  readonly treeDelete: boolean;
}

const objectSecurityFlag = 1;

/** @throws LdapError for a critical control that is not known, and for values that cannot be read */
export function readControls(requested: readonly RequestControl[]): Controls {
  const find = (wanted: string) => requested.find((control) => control.oid === wanted);
  const unknown = requested.find((control) => control.critical && !supportedControls.includes(control.oid));
  if (unknown !== undefined) {
    const text = `the control ${unknown.oid} is not supported`;
    throw new LdapError(resultCode.unavailableCriticalExtension, 0x2040, text);
  }
  const paged = find(oid.paged);
  const dirSync = find(oid.dirSync);
  const extendedDn = find(oid.extendedDn);
  return {
    paged: paged && readPaged(readerOf(paged)),
    showDeleted: find(oid.showDeleted) !== undefined || find(oid.showRecycled) !== undefined,
    dirSync: dirSync && readDirSync(readerOf(dirSync)),
    extendedDn: extendedDn && (readInteger(extendedDn.value) === 1 ? "text" : "hex"),
    domainScope: find(oid.domainScope) !== undefined,
    permissiveModify: find(oid.permissiveModify) !== undefined,
    treeDelete: find(oid.treeDelete) !== undefined,
  };
}

const malformed = () =>
  new LdapError(resultCode.protocolError, 0x57, "the value of a control cannot be read");

function readerOf(control: RequestControl): BerReader {
  if (control.value === undefined) throw malformed();
  return new BerReader(control.value);
}

function readPaged(reader: BerReader): { size: number; cookie: Buffer } {
  reader.readSequence();
  const size = reader.readInt();
  const cookie = reader.readString(Ber.OctetString, true);
  if (size === null || cookie === null) throw malformed();
  return { size, cookie };
}

function readDirSync(reader: BerReader): DirSyncRequest {
  reader.readSequence();
  // Five bytes when the highest flag is sent as an unsigned number: more than the reader's own integers hold.
  const flags = reader.readString(Ber.Integer, true);
  const maxBytes = reader.readInt();
  const cookie = reader.readString(Ber.OctetString, true);
  if (flags === null || flags.length === 0 || maxBytes === null || cookie === null) throw malformed();
  return { objectSecurity: (flags.at(-1)! & objectSecurityFlag) !== 0, maxBytes, cookie };
}

function readInteger(value: Buffer | undefined): number | null {
  if (value === undefined || value.length === 0) return null;
  const reader = new BerReader(value);
  reader.readSequence();
  return reader.readInt();
}

export function pagedResponse(cookie: Buffer): ResponseControl {
  const writer = new BerWriter();
  writer.startSequence();
  writer.writeInt(0); // no estimate of the total
  writer.writeBuffer(cookie, Ber.OctetString);
  writer.endSequence();
  return { oid: oid.paged, value: writer.buffer };
}

export function dirSyncResponse(moreResults: boolean, cookie: Buffer): ResponseControl {
  const writer = new BerWriter();
  writer.startSequence();
  writer.writeInt(moreResults ? 1 : 0);
  writer.writeInt(0);
  writer.writeBuffer(cookie, Ber.OctetString);
  writer.endSequence();
  return { oid: oid.dirSync, value: writer.buffer };
}

const cookieSignature = "MSDS";

/** Opaque to clients: signature, the server's invocationId, the USN up to which everything was sent. */
export function encodeDirSyncCookie(invocationId: string, usn: number): Buffer {
  return Buffer.from(`${cookieSignature} ${invocationId} ${usn}`);
}

/**
 * @returns the USN after which the next changes begin; 0 for an empty cookie
 * @throws LdapError for cookies that this server has not made
 */
export function decodeDirSyncCookie(cookie: Buffer, invocationId: string): number {
  if (cookie.length === 0) return 0;
  const [signature, madeBy, usn] = cookie.toString("latin1").split(" ");
  if (signature !== cookieSignature || madeBy !== invocationId || !/^\d+$/.test(usn ?? "")) {
    const text = "the DirSync cookie cannot be read";
    throw new LdapError(resultCode.unavailableCriticalExtension, 0x202c, text);
  }
  return Number(usn);
}
