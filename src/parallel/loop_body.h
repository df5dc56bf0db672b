// A reference to a callable, for loops that must not allocate: std::function would copy what a lambda captures.
#pragma once

namespace tessera {

// Never outlives the call it is passed to; the callable is called from many threads at once, hence const.
template <class... Arguments>
class LoopBody {
 public:
  template <class Callable>
  LoopBody(const Callable& callable) noexcept  // NOLINT(google-explicit-constructor): lambdas are passed as they are
      : callable_(&callable), call_([](const void* target, Arguments... arguments) {
          (*static_cast<const Callable*>(target))(arguments...);
        }) {}

  void operator()(Arguments... arguments) const { call_(callable_, arguments...); }

 private:
  const void* callable_;
  void (*call_)(const void*, Arguments...);
};

}  // namespace tessera
