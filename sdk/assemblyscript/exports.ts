// The second entry of a plugin's build, beside its own source: the exports of the ABI.
export { wasmill_abi_v1, wasmill_buffer, wasmill_close, wasmill_open, wasmill_process } from "wasmill/guest";
import "wasmill/abort";
