// The operands of one call of `tessera attend`, checked against its problem and converted to its dtype.
#pragma once
#include <functional>
#include <string>

#include "cli/attend/attend_input.h"

namespace tessera {

struct NamedTensor {
  std::string name;  // as the file calls it
  Tensor tensor;
  bool present = false;
};
using FindTensor = std::function<NamedTensor(const std::string& name)>;

// Fills the tensors and lengths that call.problem asks for. Throws Error{kFormat}: missing, of another shape or
// dtype, not finite where a kernel may look, lengths out of range, a bias the problem does not mention.
void ReadOperands(const FindTensor& find, AttendCall& call);

}  // namespace tessera
