; What Numba's code calls to allocate, on top of an arena (cpp_core/kernel_runtime.h): references need not be
; counted, since the arena is emptied as a whole.
;
; A block has a header of 48 bytes: at 24 the pointer to its data, at 32 their size. Header and data are
; allocated apart, so that LLVM can remove an array that is only stored to: first the header, whose loads it
; has forwarded, then the data, which nothing points to any more.

declare noalias nonnull ptr @envpool_kernel_alloc(i64) #0
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
attributes #0 = { nounwind allockind("alloc,uninitialized") allocsize(0) "alloc-family"="envpool" }

define void @NRT_incref(ptr %block) alwaysinline { ret void }
define void @NRT_decref(ptr %block) alwaysinline { ret void }
define void @NRT_Free(ptr %memory) alwaysinline { ret void }
define void @NRT_MemInfo_varsize_free(ptr %block, ptr %data) alwaysinline { ret void }

define ptr @NRT_Allocate(i64 %size) alwaysinline {
  %memory = call noalias nonnull align 32 ptr @envpool_kernel_alloc(i64 %size)
  ret ptr %memory
}

define ptr @NRT_MemInfo_data_fast(ptr %block) alwaysinline {
  %field = getelementptr i8, ptr %block, i64 24
  %data = load ptr, ptr %field
  ret ptr %data
}

define ptr @NRT_MemInfo_alloc(i64 %size) alwaysinline {
  %block = call noalias nonnull align 32 ptr @envpool_kernel_alloc(i64 48)
  %data = call noalias nonnull align 32 ptr @envpool_kernel_alloc(i64 %size)
  %field = getelementptr i8, ptr %block, i64 24
  store ptr %data, ptr %field
  %length = getelementptr i8, ptr %block, i64 32
  store i64 %size, ptr %length
  ret ptr %block
}

define ptr @NRT_MemInfo_alloc_aligned(i64 %size, i32 %align) alwaysinline {
  %block = call ptr @NRT_MemInfo_alloc(i64 %size)
  ret ptr %block
}

define ptr @NRT_MemInfo_alloc_dtor(i64 %size, ptr %dtor) alwaysinline {
  %block = call ptr @NRT_MemInfo_alloc(i64 %size)
  ret ptr %block
}

define ptr @NRT_MemInfo_new_varsize(i64 %size) alwaysinline {
  %block = call ptr @NRT_MemInfo_alloc(i64 %size)
  ret ptr %block
}

define ptr @NRT_MemInfo_new_varsize_dtor(i64 %size, ptr %dtor) alwaysinline {
  %block = call ptr @NRT_MemInfo_alloc(i64 %size)
  ret ptr %block
}

define ptr @NRT_MemInfo_varsize_alloc(ptr %block, i64 %size) alwaysinline {
  %data = call noalias nonnull align 32 ptr @envpool_kernel_alloc(i64 %size)
  %field = getelementptr i8, ptr %block, i64 24
  store ptr %data, ptr %field
  %length = getelementptr i8, ptr %block, i64 32
  store i64 %size, ptr %length
  ret ptr %data
}

define ptr @NRT_MemInfo_varsize_realloc(ptr %block, i64 %size) alwaysinline {
  %old = call ptr @NRT_MemInfo_data_fast(ptr %block)
  %length = getelementptr i8, ptr %block, i64 32
  %had = load i64, ptr %length
  %data = call ptr @NRT_MemInfo_varsize_alloc(ptr %block, i64 %size)
  %grows = icmp ult i64 %had, %size
  %kept = select i1 %grows, i64 %had, i64 %size
  call void @llvm.memcpy.p0.p0.i64(ptr %data, ptr %old, i64 %kept, i1 false)
  ret ptr %data
}

; Sine and cosine of one number in one call, as C compilers have it; LLVM merges only calls that stay neighbours.
; Where only one of them is used, it becomes a call of that one again (target.py).
declare { double, double } @envpool_kernel_sincos(double) #1
attributes #1 = { nounwind willreturn memory(none) }

define double @envpool_kernel_sin(double %x) alwaysinline {
  %both = call { double, double } @envpool_kernel_sincos(double %x)
  %sin = extractvalue { double, double } %both, 0
  ret double %sin
}

define double @envpool_kernel_cos(double %x) alwaysinline {
  %both = call { double, double } @envpool_kernel_sincos(double %x)
  %cos = extractvalue { double, double } %both, 1
  ret double %cos
}
