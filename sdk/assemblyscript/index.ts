/**
 * What a Wasmill plugin in AssemblyScript imports:
 *
 *     import { Event, Out, Outcome, handle } from "wasmill";
 *
 *     handle((e: Event, out: Out): Outcome => {
 *       if (!(e.find("/properties/mag").float() >= 4.5)) return Outcome.Drop;
 *       out.pass();
 *       return Outcome.Done;
 *     });
 *
 * README.md has what a handler decides, how long views live and how it is built.
 */
export { Bytes } from "./bytes";
export { Event, HeaderView } from "./event";
export { now, random, secret } from "./grant";
export { Closer, Handler, Opener, handle, handleOpen, onClose } from "./guest";
export { Instance } from "./instance";
export { Kind, Member, Value, find, isPointer, quote, valid } from "./json";
export { Level, debug, error, field, info, log, warn } from "./log";
export { Counter, Gauge, Histogram } from "./metric";
export { Header, Message, Out } from "./out";
export { Outcome, deadLetterBecause, dropBecause, fail, retryAfter } from "./outcome";
export { MAX_DEPTH } from "./scan";
