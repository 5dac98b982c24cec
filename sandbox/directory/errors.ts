/** LDAP result codes (RFC 4511 4.1.9) that the directory answers with. */
export const resultCode = {
  success: 0,
  operationsError: 1,
  protocolError: 2,
  sizeLimitExceeded: 4,
  compareFalse: 5,
  compareTrue: 6,
  authMethodNotSupported: 7,
  unavailableCriticalExtension: 12,
  noSuchAttribute: 16,
  constraintViolation: 19,
  attributeOrValueExists: 20,
  invalidAttributeSyntax: 21,
  noSuchObject: 32,
  invalidDnSyntax: 34,
  invalidCredentials: 49,
  insufficientAccessRights: 50,
  unwillingToPerform: 53,
  namingViolation: 64,
  objectClassViolation: 65,
  notAllowedOnNonLeaf: 66,
  notAllowedOnRdn: 67,
  entryAlreadyExists: 68,
  other: 80,
} as const;

export type ResultCode = (typeof resultCode)[keyof typeof resultCode];

/**
 * A refused operation. As in Active Directory the text begins with the Windows error in eight hexadecimal
 * digits, e.g. `00000524: …`; it never holds a password.
 */
export class LdapError extends Error {
  override readonly name = "LdapError";
  readonly code: ResultCode;

  constructor(code: ResultCode, windowsError: number, text: string) {
    super(`${windowsError.toString(16).toUpperCase().padStart(8, "0")}: ${text}`);
    this.code = code;
  }
}

/** The refusals that several operations share. */
export const refusal = {
  noSuchObject: (dn: string) => new LdapError(resultCode.noSuchObject, 0x208d, `no such object: ${dn}`),
  accessDenied: (what: string) =>
    new LdapError(resultCode.insufficientAccessRights, 0x2098, `insufficient access rights: ${what}`),
  unwilling: (why: string) => new LdapError(resultCode.unwillingToPerform, 0x2035, why),
  unknownAttribute: (name: string) =>
    new LdapError(resultCode.noSuchAttribute, 0x57, `attribute ${name} is not in the schema`),
  invalidValue: (name: string) =>
    new LdapError(resultCode.invalidAttributeSyntax, 0x200b, `a value of ${name} is not valid`),
  constraint: (why: string) => new LdapError(resultCode.constraintViolation, 0x202f, why),
  classViolation: (why: string) => new LdapError(resultCode.objectClassViolation, 0x2014, why),
};
