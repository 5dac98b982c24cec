/** Step 3: contributions become the metaverse object; and when it goes. */
import type { MetaverseObject } from "./model.ts";

export declare function newMetaverseObject(id: string, objectType: string): MetaverseObject;
