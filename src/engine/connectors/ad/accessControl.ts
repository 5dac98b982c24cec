/**
 * What a security descriptor grants to an account: proof of rights where no object is there yet to ask the directory
 * about, and of deletion and password reset, which its computed attributes do not tell.
 * [MS-DTYP] 2.4.4 (access control entries), 2.4.6 (security descriptor); [MS-ADTS] 5.1.3 (what the bits mean)
 */
import { guidText } from "./values.ts";

/** Bits of an access mask. [MS-ADTS] 5.1.3.2 */
export const right = {
  createChild: 0x1,
  deleteChild: 0x2,
  /** Validated writes. */
  self: 0x8,
  writeProperty: 0x20,
  deleteTree: 0x40,
  /** An extended right, such as the reset of a password. */
  control: 0x100,
  delete: 0x10000,
  writeDacl: 0x40000,
  writeOwner: 0x80000,
} as const;
const generic = { write: 0x40000000, all: 0x10000000 } as const;

export interface AccessControlEntry {
  readonly allows: boolean;
  readonly mask: number;
  /** Hex of the binary form. */
  readonly sid: string;
  /** Attribute, property set, class of child or extended right that it is about; undefined: all. */
  readonly objectType?: string;
  /** The class of objects that inherit it; undefined: all. */
  readonly inheritedObjectType?: string;
  /** Objects below get it. */
  readonly inherits: boolean;
  /** It is for objects below alone. */
  readonly inheritOnly: boolean;
  /** It came from above. */
  readonly isInherited: boolean;
}

const flag = { containerInherit: 0x2, inheritOnly: 0x8, inherited: 0x10 } as const;
const typesOfAce: ReadonlyMap<number, { readonly allows: boolean; readonly hasObject: boolean }> = new Map([
  [0x00, { allows: true, hasObject: false }],
  [0x01, { allows: false, hasObject: false }],
  [0x05, { allows: true, hasObject: true }],
  [0x06, { allows: false, hasObject: true }],
]);

/**
 * The discretionary entries of a self-relative security descriptor, in their order; those of other kinds (audit,
 * conditions) are left out. @throws RangeError for what is none
 */
export function accessControlEntries(descriptor: Buffer): AccessControlEntry[] {
  const start = descriptor.readUInt32LE(16);
  if (start === 0) return [];
  const count = descriptor.readUInt16LE(start + 4);
  const entries: AccessControlEntry[] = [];
  let at = start + 8;
  for (let index = 0; index < count; index++) {
    const size = descriptor.readUInt16LE(at + 2);
    if (size < 16 || at + size > descriptor.length) throw new RangeError("an entry reaches beyond its list");
    const type = typesOfAce.get(descriptor[at]!);
    if (type !== undefined) entries.push(entryOf(descriptor.subarray(at, at + size), type));
    at += size;
  }
  return entries;
}

function entryOf(
  ace: Buffer,
  { allows, hasObject }: { readonly allows: boolean; readonly hasObject: boolean },
): AccessControlEntry {
  const flags = ace[1]!;
  const present = hasObject ? ace.readUInt32LE(8) : 0;
  let at = hasObject ? 12 : 8;
  const guid = (bit: number) => {
    if ((present & bit) === 0) return undefined;
    at += 16;
    return guidText(ace.subarray(at - 16, at));
  };
  const objectType = guid(1);
  const inheritedObjectType = guid(2);
  const sidLength = 8 + 4 * (ace[at + 1] ?? 0);
  return {
    allows,
    mask: specific(ace.readUInt32LE(4)),
    sid: ace.toString("hex", at, at + sidLength),
    inherits: (flags & flag.containerInherit) !== 0,
    inheritOnly: (flags & flag.inheritOnly) !== 0,
    isInherited: (flags & flag.inherited) !== 0,
    ...(objectType === undefined ? {} : { objectType }),
    ...(inheritedObjectType === undefined ? {} : { inheritedObjectType }),
  };
}

/** Generic rights stand for these. [MS-ADTS] 5.1.3.2 */
function specific(mask: number): number {
  const everything = Object.values(right).reduce((sum, bit) => sum | bit, 0);
  const all = (mask & generic.all) === 0 ? 0 : everything;
  return mask | all | ((mask & generic.write) === 0 ? 0 : right.writeProperty | right.self);
}

export interface Asked {
  readonly right: number;
  /** Any of these names what is asked for: an attribute and its property set. */
  readonly objectTypes: readonly string[];
  /** The class of an object below that inherits the entries; undefined: the object itself. */
  readonly below?: string;
}

/** The first entry that speaks of the right decides, as in the directory's own check. [MS-ADTS] 5.1.3.3 */
export function isGranted(
  entries: readonly AccessControlEntry[],
  sids: ReadonlySet<string>,
  { right: bit, objectTypes, below }: Asked,
): boolean {
  const speaking = entries.find(
    (entry) =>
      sids.has(entry.sid) &&
      (entry.mask & bit) !== 0 &&
      (entry.objectType === undefined || objectTypes.includes(entry.objectType)) &&
      (below === undefined
        ? !entry.inheritOnly
        : entry.inherits && (entry.inheritedObjectType === undefined || entry.inheritedObjectType === below)),
  );
  return speaking?.allows ?? false;
}

/** User-Force-Change-Password, the reset of a password. [MS-ADTS] 5.1.3.2.1 */
export const resetPassword = "00299570-246d-11d0-a768-00aa006e0529";
/** DS-Replication-Get-Changes-All: it shows the secrets of every account. */
const replicateSecrets = "1131f6ad-9c07-11d1-f79f-00c04fc2dcd2";

/**
 * What the entries that begin at this very object grant to an account, itself or by its groups, beyond reading: in
 * words. What everybody has is left out.
 */
export function powers(entries: readonly AccessControlEntry[], sids: ReadonlySet<string>): string[] {
  const own = entries.filter(
    ({ allows, isInherited, sid }) => allows && !isInherited && sids.has(sid) && !isEverybody(sid),
  );
  const has = (bits: number) => own.some(({ mask }) => (mask & bits) !== 0);
  const controls = own.filter(({ mask }) => (mask & right.control) !== 0);
  const controlsAny = (...rights: string[]) =>
    controls.some(({ objectType }) => objectType === undefined || rights.includes(objectType));
  return [
    ...(has(right.createChild) ? ["create"] : []),
    ...(has(right.deleteChild | right.deleteTree | right.delete) ? ["delete"] : []),
    ...(has(right.writeProperty | right.self) ? ["write attributes"] : []),
    ...(controlsAny(resetPassword) ? ["reset passwords"] : []),
    ...(controlsAny(replicateSecrets) ? ["read secrets"] : []),
    ...(has(right.writeDacl | right.writeOwner) ? ["change permissions"] : []),
  ];
}

/** Everyone, network, authenticated users, this organisation, users, pre-Windows 2000 access, the object's owner or self. */
const everybody: ReadonlySet<string> = new Set([
  "010100000000000100000000",
  "010100000000000300000000",
  "010100000000000301000000",
  "010100000000000502000000",
  "01010000000000050a000000",
  "01010000000000050b000000",
  "01010000000000050f000000",
  "01020000000000052000000021020000",
  "0102000000000005200000002a020000",
]);

const isEverybody = (sid: string) => everybody.has(sid);
