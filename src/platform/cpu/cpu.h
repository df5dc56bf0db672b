// The CPU this process runs on.
#pragma once
#include <string_view>

#include "platform/device.h"

namespace tessera {

// The highest instruction set this machine and its operating system offer.
Isa MachineIsa() noexcept;

// The instruction set every kernel table uses: MachineIsa() unless lowered.
Isa ActiveIsa() noexcept;

// Lowers (or restores) the instruction set. Throws Error{kUnsupported} above MachineIsa(). Also lowers oneDNN's where
// that is still possible (before its first primitive).
void SetActiveIsa(Isa isa);

// Reads TESSERA_ISA when `name` is empty; does nothing when both are. Throws Error{kUsage} for an unknown name.
void ApplyIsaChoice(std::string_view name);

// Whether bf16 dot products beat f32 multiply-adds here: measured once by register-only loops of about a millisecond
// (Zen 4/5: 2 x; Sapphire Rapids without AMX: 0.6 x). False below kAvx512Bf16.
bool Bf16DotPays() noexcept;

// Replaces the measurement: products of bf16 pairs wherever the instruction set has them, or nowhere. For tests and for
// the same bytes on different machines. Throws Error{kUnsupported} for kOn on a machine without them.
enum class Bf16Dot { kMeasured, kOn, kOff };
void SetBf16Dot(Bf16Dot choice);

// The device as rules see it, with the active instruction set and thread count.
Device CpuDevice();

}  // namespace tessera
