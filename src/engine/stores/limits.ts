/** The sizes that Table Storage takes: learn.microsoft.com/azure/storage/tables/scalability-targets. */
import { type Operation, type Property, StoreError, transactionMax } from "../ports/tables.ts";
import { chunked } from "./texts.ts";

const propertyBytesMax = 65_536;
const rowBytesMax = 1_048_576;
/** The service takes 4 MiB of body; what stands around the operations has to fit too. */
const transactionBytesMax = 4_000_000;
/** What the stores put into one transaction: well below, for it is an estimate. */
const shareBytes = 3_500_000;
/** Of one operation in a body: its boundary, headers and address. */
const operationOverhead = 600;

/** Bytes of a property as the service counts them: strings are UTF-16. */
function propertyBytes(value: Property): number {
  if (typeof value === "string") return value.length * 2;
  if (value instanceof Uint8Array) return value.length;
  return 8;
}

/**
 * Bytes of an operation in a transaction. The body is UTF-8, where Chinese or Arabic letters take more than the
 * service counts for the property, and bytes are base64.
 */
function operationBytes(operation: Operation): number {
  let bytes = operationOverhead;
  if (operation.kind === "delete") return bytes;
  for (const [name, value] of Object.entries(operation.properties)) {
    bytes += name.length * 2 + 8;
    if (typeof value === "string") bytes += Math.max(value.length * 2, Buffer.byteLength(value));
    else bytes += value instanceof Uint8Array ? Math.ceil(value.length / 3) * 4 : 8;
  }
  return bytes;
}

/** How much of one transaction these operations fill: above 1 they need more than one. */
export function transactionShare(operations: readonly Operation[], operationsMax = transactionMax): number {
  const bytes = operations.reduce((sum, operation) => sum + operationBytes(operation), 0);
  return Math.max(operations.length / operationsMax, bytes / shareBytes);
}

/** The operations in as few transactions as the limits allow, in their order. */
export function transactionsOf(
  operations: readonly Operation[],
  operationsMax = transactionMax,
): (readonly Operation[])[] {
  return chunked(operations, (operation) => transactionShare([operation], operationsMax), 1);
}

/** Keys of one to 1,024 bytes without `/ \ # ?` and control characters. */
export function isKey(key: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters that keys must not have.
  return key.length <= 512 && !/[/\\#?\u0000-\u001f\u007f-\u009f]/.test(key);
}

/** @throws StoreError "too-large" for what the service refuses, so that every store refuses the same. */
export function assertWithinLimits(partition: string, operations: readonly Operation[]): void {
  const tooLarge = (what: string): never => {
    throw new StoreError("too-large", `Table Storage does not take ${what}.`);
  };
  if (!isKey(partition)) tooLarge(`the partition key ${JSON.stringify(partition)}`);
  if (operations.length > transactionMax) tooLarge(`${operations.length} operations in one transaction`);
  const keys = new Set<string>();
  for (const operation of operations) {
    if (keys.has(operation.row)) tooLarge(`two operations on row ${operation.row} in one transaction`);
    keys.add(operation.row);
    if (!isKey(operation.row)) tooLarge(`the row key ${JSON.stringify(operation.row)}`);
    if (operation.kind === "delete") continue;
    const properties = Object.entries(operation.properties);
    if (properties.length > 252) tooLarge(`${properties.length} properties in one row`);
    let bytes = 0;
    for (const [name, value] of properties) {
      const size = propertyBytes(value);
      if (size > propertyBytesMax) tooLarge(`the property ${name} of ${size} bytes`);
      bytes += size + name.length * 2 + 8;
    }
    if (bytes > rowBytesMax) tooLarge(`a row of ${bytes} bytes`);
  }
  const total = operations.reduce((sum, operation) => sum + operationBytes(operation), 0);
  if (total > transactionBytesMax) tooLarge(`a transaction of ${total} bytes`);
}
